<?php
header('Content-Type: text/plain');
if (($_SERVER['QUERY_STRING'] ?? '') === 'hello') {
    echo 'Hello, world';
    exit;
}
session_start();
$_SESSION['hits'] = ($_SESSION['hits'] ?? 0) + 1;
$hits = $_SESSION['hits'];
session_write_close();
echo $hits;
