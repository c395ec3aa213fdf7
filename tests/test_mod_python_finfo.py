import os

import pytest

from handlers.mod_python import apache


def test_stat_tells_what_os_stat_tells(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    path.chmod(0o640)
    found = os.stat(path)
    info = apache.stat(str(path), apache.APR_FINFO_NORM)
    assert info.filetype == apache.APR_REG
    assert (info.fname, info.size, info.protection) == (str(path), 5, 0x640)
    assert (info.inode, info.device, info.nlink) == (found.st_ino, found.st_dev, 1)
    assert (info.user, info.group, info.mtime) == (found.st_uid, found.st_gid, int(found.st_mtime))
    assert info[apache.FINFO_SIZE] == 5
    assert info[apache.FINFO_FNAME] == str(path)
    assert info[apache.FINFO_FILETYPE] == apache.APR_REG
    assert "'size': 5" in repr(info)
    with pytest.raises(IndexError):
        info[13]
    with pytest.raises(AttributeError):
        info.colour  # noqa: B018


def test_special_bits_have_aprs_values(tmp_path):
    path = tmp_path / "directory"
    path.mkdir()
    path.chmod(0o1777)
    info = apache.stat(str(path), apache.APR_FINFO_NORM)
    assert info.filetype == apache.APR_DIR
    assert info.protection == 0x2777


def test_link_itself_is_seen_only_on_request(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path)
    link = str(tmp_path / "link")
    assert apache.stat(link, apache.APR_FINFO_NORM).filetype == apache.APR_DIR
    wanted = apache.APR_FINFO_NORM | apache.APR_FINFO_LINK
    assert apache.stat(link, wanted).filetype == apache.APR_LNK


def test_missing_file_is_no_error_but_other_failures_are(tmp_path):
    missing = apache.stat(str(tmp_path / "missing"), apache.APR_FINFO_NORM)
    assert missing.filetype == apache.APR_NOFILE
    assert missing.size is None
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        apache.stat(str(tmp_path / "file" / "x"), apache.APR_FINFO_NORM)
    with pytest.raises(TypeError):
        apache.stat(b"/", apache.APR_FINFO_NORM)
