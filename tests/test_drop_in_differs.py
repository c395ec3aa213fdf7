"""What Apache's configuration and the settings files say differently, or take from a site."""

import os
import pathlib
import re

import pytest

from tests.support import until

PICTURE = "/thumbs/200x200/p001.jpg"


def lines(site, pattern):
    return re.findall(f"(?m)^.*{pattern}.*$", site.log(0))


def ask_all_children(site, path, times=12):
    return {site.request(path).status for _ in range(times)}


def test_other_cache_in_the_settings_is_503_and_one_line_of_a_child(own_site, public_dir):
    other = public_dir / "other"
    own_site.settings(f"thumbnail.cache = {other}")
    own_site.expect(r"thumbnail\.cache is")
    own_site.start()
    assert ask_all_children(own_site, PICTURE) == {503}
    assert int(own_site.request(PICTURE).headers["Retry-After"]) > 0
    said = lines(own_site, r"thumbnail\.cache is")
    assert 1 <= len(said) <= own_site.children
    for value in (other, own_site.work.settings, own_site.work.cache, "HANDLERS_CACHE"):
        assert str(value) in said[0]
    assert not list(pathlib.Path(own_site.work.cache, "thumbs").rglob("*.jpg"))
    assert not list(other.rglob("*.jpg"))
    own_site.stop()
    own_site.settings(f"thumbnail.cache = {own_site.work.cache}")
    own_site.begin_test()
    own_site.start()
    assert own_site.request(PICTURE).status == 200


def test_one_cache_by_two_names_is_one_cache(own_site, public_dir):
    link = public_dir / "link"
    link.symlink_to(own_site.work.cache)
    own_site.settings(f"thumbnail.cache = {link}/")
    own_site.start()
    assert own_site.request(PICTURE).status == 200


def test_cache_that_only_the_drop_in_names_is_taken(own_site):
    path = pathlib.Path(own_site.work.settings)
    path.write_text(re.sub(r"(?m)^cache = .*\n", "", path.read_text()))
    own_site.start()
    assert own_site.request(PICTURE).status == 200


@pytest.mark.parametrize(
    ("option", "path", "says"),
    [
        ("thumbnail.url = /small", PICTURE, r"thumbnail\.url is /small in .*THUMBS is /thumbs in"),
        ("images.url = /pictures", "/images/p001", r"images\.url is /pictures in .*IMAGES is /im"),
        ("images.url = /pictures", "/", r"images\.url is /pictures in .*IMAGES is /images in"),
    ],
)
def test_other_url_in_the_settings_is_one_warning_and_apaches_holds(own_site, option, path, says):
    own_site.settings(option)
    own_site.expect(r"\.url is")
    own_site.start()
    assert ask_all_children(own_site, path) == {200}
    assert b"/pictures/" not in own_site.request("/").body
    assert b"/small/" not in own_site.request("/").body
    assert 1 <= len(lines(own_site, says)) <= own_site.children


def test_originals_that_are_not_published_though_the_settings_name_their_url(own_site):
    own_site.edits["Define HANDLERS_IMAGES /images\n"] = ""
    own_site.settings("images.url = /images")
    own_site.expect(r"images\.url is")
    own_site.start()
    page = own_site.request("/")
    assert page.status == 200
    assert b"/images/" not in page.body
    assert own_site.request("/images/p001").status == 404
    assert lines(own_site, r"images\.url is /images in .*HANDLERS_IMAGES is not defined in")


def test_files_that_apache_serves_no_longer_are_named_once(own_site):
    documents = pathlib.Path(own_site.work.documents)
    (documents / "thumbs").mkdir()
    (documents / "thumbs" / "own.jpg").write_text("a file of the site's own")
    (documents / "images").write_text("another")
    (documents / "signin").write_text("a third")
    own_site.expect("is not served any more|gallery.users ")
    own_site.start()
    assert ask_all_children(own_site, "/thumbs/own.jpg") == {404}
    assert ask_all_children(own_site, "/images/p001") == {200}
    own_site.request("/signin")
    for name, cure in (("thumbs", "THUMBS"), ("images", "IMAGES"), ("signin", "HANDLERS_GALLERY")):
        said = lines(own_site, f"{documents}/{name} is not served any more")
        assert 1 <= len(said) <= own_site.children
        assert f"answer /{name}: " in said[0] and cure in said[0]


def test_link_to_the_thumbnails_hides_nothing(own_site):
    os.symlink(
        os.path.join(own_site.work.cache, "thumbs"), os.path.join(own_site.work.documents, "thumbs")
    )
    own_site.start()
    assert own_site.request(PICTURE).status == 200


def test_fault_in_one_settings_file_is_one_line_and_stops_no_other_site(own_site):
    """Those before and after settings.ini in the order of names."""
    etc = pathlib.Path(own_site.work.etc)
    (etc / "b.ini").write_bytes(b"[lookup]\ndatabase = \xff\xfe\n")
    (etc / "c.ini").mkdir()
    (etc / "d.ini").symlink_to("nowhere")
    (etc / "t.ini").write_text("[lookup]\ndatabase = postgres://a/b\n")
    (etc / "u.ini").write_text(f"[cache]\nage = old\n[thumbnail]\ncache = {etc}/u\n")
    (etc / "v.ini").write_text("[mod_python.session]\nsecret_file = /nowhere\n")
    (etc / "w.ini").write_text("[lookup]\ndatabase = sqlite:////nowhere/images.db\n")
    own_site.expect(r"settings file|postgres|cache\.age|nowhere")
    own_site.start()
    assert own_site.request(PICTURE).status == 200
    faults = (
        "b.ini",
        "c.ini",
        "d.ini",
        "postgres",
        r"cache\.age",
        "/nowhere'?$|secret",
        "/images.db",
    )
    for fault in faults:
        said = rf":(?:warn|error)\].*(?:{fault})"
        # some are met by a thread of a child that answers requests already
        assert len(until(lambda said=said: lines(own_site, said))) <= own_site.children, fault
    assert "Traceback" not in own_site.log(0)
