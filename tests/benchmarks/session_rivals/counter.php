<?php
session_start();
$_SESSION['hits'] = ($_SESSION['hits'] ?? 0) + 1;
$hits = $_SESSION['hits'];
session_write_close();
header('Content-Type: text/plain');
echo $hits;
