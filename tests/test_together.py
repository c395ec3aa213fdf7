"""thumbnail.together: sizes that are made ahead, of what was decoded for another one."""

import contextlib
import functools
import io
import os
import pathlib
import signal
import tempfile
import time

import pytest
from PIL import Image

from handlers import ahead, counters, locks, making, settings, state_directory, worker
from handlers.cache.failures import Failures
from handlers.cache.pace import Pace
from handlers.cache.store import Store
from handlers.cache.turns import Turns
from handlers.errors import Misconfigured
from handlers.image import thumbnail
from handlers.image.geometry import parse
from handlers.image.limits import Limits
from handlers.image.thumbnail import make, make_kept
from handlers.lookup import Row
from handlers.maker import client, kept
from handlers.maker.job import Job, run
from handlers.making import Asked
from tests.conftest import SERVERS, watched
from tests.pictures.chart import apart, grid
from tests.servers.httpd import Httpd, make_images_table, makers_of
from tests.support import photograph, run_command, until

BOUNDS = worker.Bounds(300, 20, 400 << 20)
ALL = Limits(formats=("JPEG", "PNG", "GIF", "WEBP", "AVIF", "TIFF"))
QUEUE = 1 << 40


def read(directory, text):
    path = directory / "settings.ini"
    path.write_text(text)
    return settings.read_again(str(path))


def test_size_that_does_not_exist_is_an_error_with_its_line(tmp_path):
    text = "[thumbnail]\nsizes = 200x200 400x400\n\ntogether = 200x200 300x300\n"
    with pytest.raises(Misconfigured) as error:
        read(tmp_path, text)
    assert str(error.value) == (
        f"{tmp_path}/settings.ini, line 4: thumbnail.together: 300x300 is none of thumbnail.sizes, "
        "and it cannot be signed"
    )


@pytest.mark.parametrize("extra", ["", "largest = 299\n"])
def test_size_that_can_be_signed_exists(tmp_path, extra):
    text = f"[thumbnail]\nsizes = 200x200\nkeys = {'k' * 16}\n{extra}together = 200x200 300x300\n"
    if extra:
        with pytest.raises(Misconfigured, match=r"line 5: .*300x300 is none of"):
            read(tmp_path, text)
    else:
        assert read(tmp_path, text).thumbnail.together == ("200x200", "300x300")


def test_python_option_is_compared_with_the_sizes_that_hold_there(tmp_path):
    file = read(tmp_path, "[thumbnail]\nsizes = 200x200 400x400\ntogether = 200x200 400x400\n")
    merged = settings._merged(file, (("thumbnail.sizes", "50x50 200x200"),))
    assert merged.thumbnail.together == ("200x200", "400x400")
    with pytest.raises(Misconfigured, match=r"PythonOption thumbnail\.together: 400x400 is none"):
        settings._merged(
            file, (("thumbnail.sizes", "200x200"), ("thumbnail.together", "200x200 400x400"))
        )


def test_sizes_may_stand_in_apache_s_configuration_alone(tmp_path):
    assert read(tmp_path, "[thumbnail]\ntogether = 9x9 8x8\n").thumbnail.together


@functools.cache
def photo(width=880, height=660):
    return photograph(640, 480).resize((width, height), Image.Resampling.BICUBIC)


def saved(picture, format, **options):
    file = io.BytesIO()
    if format == "PNG":
        options["compress_level"] = 1
    picture.save(file, format, **options)
    return file


@functools.cache
def palette():
    return photo().quantize()


def turned():
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved(photo(), "JPEG", exif=exif)


def clear():
    picture = photo().convert("RGBA")
    picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    return picture


SOURCES = {
    "jpeg": lambda: saved(photo(1280, 960), "JPEG", quality=90),
    "large jpeg": lambda: saved(photo(3200, 2400), "JPEG", quality=90),
    "turned jpeg": turned,
    "grey jpeg": lambda: saved(photo().convert("L"), "JPEG"),
    "cmyk jpeg": lambda: saved(photo().convert("CMYK"), "JPEG"),
    "progressive jpeg": lambda: saved(photo(), "JPEG", progressive=True),
    "small jpeg": lambda: saved(photo().resize((150, 110)), "JPEG", quality=90),
    "png": lambda: saved(photo(), "PNG"),
    "clear png": lambda: saved(clear(), "PNG"),
    "clear grey png": lambda: saved(clear().convert("LA"), "PNG"),
    "palette png": lambda: saved(palette(), "PNG"),
    "palette png with a clear colour": lambda: saved(palette(), "PNG", transparency=0),
    "deep png": lambda: saved(photo().convert("I").point(lambda v: v * 257).convert("I;16"), "PNG"),
    "gif": lambda: saved(palette(), "GIF"),
    "webp": lambda: saved(photo(), "WEBP", quality=90),
    "avif": lambda: saved(photo(), "AVIF", quality=90),
    "tiff": lambda: saved(photo(), "TIFF"),
}


@functools.cache
def data_of(name):
    return SOURCES[name]().getvalue()


QUICK = ("jpeg", "clear png")
PAIRS = [("200x200", "400x400"), ("400x400", "200x200"), ("160x160-crop", "400x300-crop")]


def cells(data):
    with Image.open(io.BytesIO(data)) as picture:
        picture = picture.convert("RGBA")
        ground = Image.new("RGBA", picture.size, "white")
        return picture.size, grid(Image.alpha_composite(ground, picture).convert("RGB"))


@pytest.mark.parametrize(
    "name",
    [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in SOURCES],
)
@pytest.mark.parametrize(
    "pair", [PAIRS[0], *(pytest.param(pair, marks=pytest.mark.slow) for pair in PAIRS[1:])], ids=str
)
def test_both_are_as_good_as_alone(name, pair):
    """The one asked for, for which more may be decoded, and the one made of what is kept."""
    file, focus = io.BytesIO(data_of(name)), (0.3, 0.8)
    first, other = map(parse, pair)
    how = {"focus": focus, "limits": ALL}
    done = make(file, first, "png", beside=[other], **how)
    assert done.kept is not None
    both = done, make_kept(done.kept, other, "png")
    for found, wanted in zip(both, (first, other), strict=True):
        alone = make(file, wanted, "png", **how)
        assert found[1:7] == alone[1:7]
        size, colours = cells(found.data)
        alone_size, alone_colours = cells(alone.data)
        assert size == alone_size
        assert apart(colours, alone_colours) <= 2
    if pair[1] == "400x400":
        # what was decoded for the larger one is what it decodes alone
        assert both[1].data == make(file, other, "png", **how).data


def test_nothing_is_kept_unless_it_is_wanted():
    assert make(SOURCES["jpeg"](), parse("200x200"), "jpg").kept is None


@pytest.mark.parametrize(
    ("first", "others", "made"),
    [
        ("200x200", ["400x400", "1600x1600"], ["400x400"]),
        ("1600x1600", ["200x200", "400x400"], ["200x200", "400x400"]),
        ("400x400", ["1600x1600"], None),
    ],
)
def test_size_for_which_much_more_would_be_decoded_is_left_out(first, others, made):
    """A JPEG of 8 megapixels, whole, takes twice what it takes at a quarter."""
    done = make(SOURCES["large jpeg"](), parse(first), "jpg", beside=map_of(others))
    assert (done.kept and list(map(str, done.kept.wanted))) == made
    if made is None:
        assert done.data == make(SOURCES["large jpeg"](), parse(first), "jpg").data


def map_of(sizes):
    return [parse(size) for size in sizes]


@pytest.mark.slow
def test_nothing_is_kept_where_memory_is_short(monkeypatch):
    file, beside = saved(photo(1280, 960), "PNG"), [parse("400x400")]
    alone = make(file, parse("200x200"), "jpg")
    tight = Limits(memory=5_500_000)
    short = make(file, parse("200x200"), "jpg", limits=tight, beside=beside)
    assert short.kept is None and make(file, parse("200x200"), "jpg", beside=beside).kept
    assert short.data == make(file, parse("200x200"), "jpg", limits=tight).data
    monkeypatch.setattr("handlers.image.thumbnail.MOST_KEPT", 1 << 20)
    huge = make(file, parse("800x800"), "jpg", beside=beside)
    assert huge.kept is None and huge[1:3] == (800, 600) and alone


def test_film_is_made_of_its_frames_and_not_of_one_that_is_kept():
    frames = [photo().resize((300, 200)).rotate(angle).quantize() for angle in (0, 90)]
    file = saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    how = {"animated": True, "beside": [parse("90x90")]}
    assert make(file, parse("60x60"), "webp", **how).kept is None
    assert make(file, parse("60x60"), "jpg", **how).kept is not None


def job(size="200x200", beside=("400x400",), ext="jpg", of_kept=False, limits=ALL):
    return Job(size, ext, None, limits, None, False, False, tuple(beside), of_kept)


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "source.jpg"
    path.write_bytes(SOURCES["jpeg"]().getvalue())
    os.utime(path, (1.7e9, 1.7e9))
    return path


def opened(path):
    return os.open(path, os.O_RDONLY)


def test_kept_picture_is_found_until_it_was_used_or_is_too_old(source, monkeypatch):
    pictures = kept.Pictures()
    answer, _ = run([opened(source)], job(), pictures)
    assert answer["kept"] == ["400x400"] and 0 < pictures.bytes <= kept.MOST_KEPT
    again, data = run([opened(source)], job("400x400", of_kept=True), pictures)
    assert again["source"] == "1280x960 JPEG (kept)"
    assert data == run([opened(source)], job("400x400", ()))[1]
    assert pictures.bytes == 0 and pictures.left() is None
    missing, _ = run([opened(source)], job("400x400", of_kept=True), pictures)
    assert missing["error"] == "NotKept"
    monkeypatch.setattr(kept, "KEPT_SECONDS", -1.0)
    run([opened(source)], job(), pictures)
    assert pictures.bytes and pictures.left() is None
    assert pictures.bytes == 0


def test_whoever_asks_soon_gets_it_of_what_is_kept(source):
    pictures = kept.Pictures()
    run([opened(source)], job(), pictures)
    answer, data = run([opened(source)], job("400x400", ()), pictures)
    assert answer["source"].endswith("(kept)")
    assert data == run([opened(source)], job("400x400", ()))[1]


@pytest.mark.parametrize("change", ["replaced", "written", "touched"])
def test_picture_of_a_source_that_has_changed_is_not_found(source, change):
    pictures = kept.Pictures()
    run([opened(source)], job(), pictures)
    other = SOURCES["grey jpeg"]().getvalue()
    if change == "replaced":
        new = source.with_name("new.jpg")
        new.write_bytes(other)
        os.utime(new, (1.7e9, 1.7e9))
        os.replace(new, source)
    elif change == "written":
        source.write_bytes(other)
        os.utime(source, (1.7e9, 1.7e9))
    else:
        os.utime(source, (1.7e9, 1.8e9))
    assert run([opened(source)], job("400x400", of_kept=True), pictures)[0]["error"] == "NotKept"
    answer, data = run([opened(source)], job("400x400", ()), pictures)
    assert "kept" not in answer["source"]
    assert data == run([opened(source)], job("400x400", ()))[1]


def test_picture_of_a_source_that_changes_while_it_is_decoded_is_not_found(source, monkeypatch):
    pictures = kept.Pictures()

    def make_and_write(*given, **options):
        made = make(*given, **options)
        os.utime(source, (1.7e9, 1.8e9))
        return made

    monkeypatch.setattr(thumbnail, "make", make_and_write)
    run([opened(source)], job(), pictures)
    monkeypatch.undo()
    assert run([opened(source)], job("400x400", of_kept=True), pictures)[0]["error"] == "NotKept"


def test_pictures_make_room_for_each_other_and_for_a_job_that_needs_it(tmp_path, monkeypatch):
    monkeypatch.setattr(kept, "MOST_KEPT", 12_000_000)
    pictures, paths = kept.Pictures(), []
    for number in range(4):
        paths.append(tmp_path / f"{number}.jpg")
        paths[-1].write_bytes(SOURCES["jpeg"]().getvalue())
        run([opened(paths[-1])], job(), pictures)
        assert pictures.bytes <= 12_000_000
    wanted = job("400x400", of_kept=True)
    found = [run([opened(path)], wanted, pictures)[0].get("error") for path in paths]
    assert found == ["NotKept", "NotKept", None, None]
    run([opened(paths[0])], job(), pictures)
    large = tmp_path / "large.jpg"
    large.write_bytes(SOURCES["large jpeg"]().getvalue())
    done = make(
        io.BytesIO(large.read_bytes()), parse("1200x1200"), "jpg", room=(costs := []).append
    )
    tight = Limits(memory=costs[0] + 1000)
    assert done.data == run([opened(large)], job("1200x1200", (), limits=tight), pictures)[1]
    assert pictures.bytes == 0


def test_thumbnail_alone_keeps_and_costs_nothing(source):
    """By a process for this one thumbnail, and by a job that names no other size."""
    answer, data = run([opened(source)], job())
    assert "kept" not in answer
    pictures = kept.Pictures()
    assert run([opened(source)], job(beside=()), pictures) == (answer, data)
    assert pictures.bytes == 0


def ask(cache, path, wanted, asking=client.ask):
    with open(path, "rb") as file:
        return asking(cache, 0, wanted, [file.fileno()], BOUNDS)


def test_maker_makes_it_of_what_it_has_kept_or_not_at_all(cache, source):
    wanted = job("400x400", of_kept=True)
    assert ask(cache, source, wanted, client.ask_for_kept) is None
    assert not makers_of(cache)

    def made():
        ask(cache, source, job())
        return ask(cache, source, wanted, client.ask_for_kept)

    # a machine may take longer than what is kept is kept
    done = until(made)
    assert done.data == ask(cache, source, job("400x400", ())).data
    assert ask(cache, source, wanted, client.ask_for_kept) is None
    (pid,) = makers_of(cache)
    ask(cache, source, job())
    os.kill(pid, signal.SIGKILL)
    assert ask(cache, source, wanted, client.ask_for_kept) is None


def test_maker_gives_the_memory_back_when_its_time_is_over(cache, tmp_path):
    source = tmp_path / "large.jpg"
    Image.effect_noise((3000, 2400), 60).convert("RGB").save(source)

    def resident():
        (pid,) = makers_of(cache)
        return int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096

    ask(cache, source, job("1600x1600", ()))
    before = resident()
    assert ask(cache, source, job("1600x1600", ("100x100",))).answer["kept"]
    (pid,) = makers_of(cache)
    until(lambda: resident() < before + (8 << 20))
    assert makers_of(cache) == [pid]


def taken(cache, number=0, makers=2):
    with Turns(cache, makers, None, 0).idle_maker(number):
        return True


def test_idle_maker_is_for_nobody_while_others_come(cache):
    with Turns(cache, 2, 4, 5).maker() as first:
        assert first == 0
        with pytest.raises(locks.LockTimeout):
            taken(cache, 0)
        with pytest.raises(locks.LockTimeout, match="others come first"):
            # the only turn that is left
            taken(cache, 1)
        assert taken(cache, 1, makers=3)
    pace = Pace(cache).seconds()
    assert taken(cache, 0) and taken(cache, 1) and taken(cache, 0, makers=1)
    assert Pace(cache).seconds() == pace
    waiters = state_directory.path(cache, "waiters")
    with locks.held(waiters, QUEUE + 7), pytest.raises(locks.LockTimeout):
        taken(cache, 0)


def recipe(root):
    options = {"images.root": str(root)}
    return making.recipe(settings.Settings(options))


def work(cache, source, check=lambda: None):
    row = Row(source.name)
    store, asked = Store(cache), Asked("400x400", "1", "jpg")
    return ahead.Work(store, asked, row, recipe(source.parent), 2, 0, check, ahead.too_late(), None)


def test_work_is_done_when_nobody_waits_and_once(cache, source, monkeypatch):
    counted, told, store, row = [], [], Store(cache), Row(source.name)
    monkeypatch.setattr(counters, "add", counted.append)

    def keep(slot, sizes):
        told.append((slot, sizes))

    def first():
        for name in ("200x200/1.jpg", "400x400/1.jpg"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(store.path(name))
        asked, turns = Asked("200x200", "1", "jpg"), Turns(cache, 2, None, None)
        how = recipe(source.parent)
        assert making.make(store, asked, row, how, turns, None, ["400x400"], keep)
        assert told[-1] == (0, ["400x400"])
        with locks.held(state_directory.path(cache, "waiters"), QUEUE):
            assert not ahead._is_done(work(cache, source))
        assert ahead._is_done(work(cache, source))
        return store.has("400x400/1.jpg")

    # a machine may take longer than what is kept is kept
    until(first)
    assert counted.count("thumbnails_ahead") == 1
    made = os.stat(store.path("400x400/1.jpg"))
    assert ahead._is_done(work(cache, source))
    assert os.stat(store.path("400x400/1.jpg")) == made
    assert counted.count("thumbnails_ahead") == 1


@pytest.mark.parametrize("fault", ["row", "missing", "failed", "disk", "maker"])
def test_what_prevents_it_leaves_nothing_behind(cache, source, fault, monkeypatch, caplog):
    store = Store(cache)

    def check():
        if fault == "row":
            raise making.RowChanged("1")

    def prevented():
        ask(cache, source, job())
        planned = work(cache, source, check)
        if fault == "missing":
            os.rename(source, source.with_name("away.jpg"))
        elif fault == "failed":
            found = source.stat()
            identity = f"{source.name} {found.st_mtime_ns} {found.st_size}"
            failures = Failures(cache, 3600, 3)
            attempt = failures.attempt("1", "400x400/1.jpg", identity, making._FAILURES)
            with contextlib.suppress(making.errors.BrokenSource), attempt:
                raise making.errors.BrokenSource("no")
        elif fault == "disk":
            monkeypatch.setattr(Store, "write", no_room)
        elif fault == "maker":
            (pid,) = makers_of(cache)
            os.kill(pid, signal.SIGKILL)
        assert ahead._is_done(planned)

    prevented()
    if fault == "disk":
        # a machine may take longer than what is kept is kept
        until(lambda: caplog.records or prevented())
    assert not store.has("400x400/1.jpg")
    assert not list(pathlib.Path(store.part("tmp")).glob("*"))
    if fault != "failed":
        assert not list(pathlib.Path(state_directory.path(cache, "failures")).glob("*"))
    assert [record.levelname for record in caplog.records if record.levelno > 20] == (
        ["ERROR"] if fault == "disk" else []
    )


def no_room(*_):
    raise OSError(28, "No space left on device")


@pytest.fixture(scope="module", params=SERVERS)
def running(request, base, pictures):
    """A site where two sizes are wanted together."""
    root, rows = pictures
    directory = pathlib.Path(tempfile.mkdtemp(prefix="t-", dir=base))
    directory.chmod(0o755)
    private = {f"p{number:03d}" for number in range(100, 110)}
    url = make_images_table(directory / "images.db", rows, private)
    site = Httpd(directory / "site", request.param, url, root, children=4)
    site.settings("thumbnail.together = 200x200 400x400-crop\nlookup.private = private")
    with site:
        yield site


@pytest.fixture
def together(running):
    yield from watched(running)


def thumbs(site, name):
    return pathlib.Path(site.work.cache, "thumbs", name)


def figures(site):
    found = counters.read(site.work.cache)
    return found["thumbnails_made"], found["thumbnails_ahead"]


def appears(path, seconds=10.0):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if path.exists():
            return True
        time.sleep(0.01)
    return False


def test_other_size_is_there_soon_without_a_second_decode(together):
    """In the format that was asked for, and in no other; a busy machine may need several tries."""
    for number in range(20):
        made, before = figures(together)
        name = f"p{number:03d}.webp"
        answer = together.request(f"/thumbs/200x200/{name}")
        assert answer.status == 200
        if appears(thumbs(together, f"400x400-crop/{name}")):
            break
    else:
        pytest.fail("none was made ahead")
    until(lambda: figures(together) == (made + 1, before + 1))
    path = thumbs(together, f"400x400-crop/{name}")
    assert f"thumbnail 400x400-crop/{name} made ahead from 640x480 JPEG (kept)" in together.log()
    log = together.log()
    answer = together.request(f"/thumbs/400x400-crop/{name}")
    assert (answer.status, answer.body) == (200, path.read_bytes())
    assert figures(together) == (made + 1, before + 1)
    assert log.count("made") == together.log().count("made")
    assert [one.name for one in path.parent.glob(f"p{number:03d}.*")] == [name]
    # as good as if it had been asked for
    path.unlink()
    assert together.request(f"/thumbs/400x400-crop/{name}").body == answer.body


def test_real_requests_come_first_and_a_killed_maker_costs_nothing(together):
    assert together.request("/thumbs/200x200/p020.jpg").status == 200
    state = os.path.join(together.work.cache, "handlers-state")
    queue = os.path.join(state, "waiters")
    # the file is to be the server's from the first moment on
    made = os.path.join(state, "made")
    os.close(os.open(made, os.O_CREAT | os.O_WRONLY, 0o600))
    os.chown(made, os.stat(state).st_uid, -1)
    with contextlib.suppress(FileExistsError):
        os.link(made, queue)
    os.unlink(made)
    _, before = figures(together)
    with locks.held(queue, QUEUE, 10):
        # as if a visitor waited for a maker
        assert together.request("/thumbs/200x200/p021.jpg").status == 200
        assert not appears(thumbs(together, "400x400-crop/p021.jpg"), 0.3)
        for pid in together.maker_pids():
            # an idle one may go by itself
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    assert not appears(thumbs(together, "400x400-crop/p021.jpg"), 0.5)
    assert figures(together)[1] == before or thumbs(together, "400x400-crop/p020.jpg").exists()
    assert together.request("/thumbs/400x400-crop/p021.jpg").status == 200
    assert not os.listdir(os.path.join(state, "failures"))


def test_size_that_is_not_named_and_private_pictures_make_nothing_public(together):
    assert together.request("/thumbs/400x400/p030.jpg").status == 200
    assert together.request("/thumbs/200x200/p100.jpg").status == 404
    assert not appears(thumbs(together, "200x200/p030.jpg"), 0.3)
    assert not list(thumbs(together, "").glob("*/p100.*"))


def test_purge_takes_what_was_made_ahead(together):
    for number in range(40, 60):
        name = f"p{number:03d}"
        assert together.request(f"/thumbs/200x200/{name}.jpg").status == 200
        if appears(thumbs(together, f"400x400-crop/{name}.jpg")):
            break
    else:
        pytest.fail("none was made ahead")
    done = run_command(together.work.settings, "cache", "purge", name)
    assert done.returncode == 0, done.stderr
    assert not list(thumbs(together, "").glob(f"*/{name}.*"))


def test_nothing_is_made_ahead_by_default(site):
    before = figures(site)[1]
    assert site.request("/thumbs/200x200/p060.webp").status == 200
    assert not appears(thumbs(site, "400x400/p060.webp"), 0.3)
    assert figures(site)[1] == before
