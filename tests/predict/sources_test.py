"""What folders and tables of a command line hold."""

from ser_jax.predict import sources


def test_folders_are_walked_through_links_but_not_in_circles(tmp_path, caplog):
    for name in ("in/a.wav", "in/b/c.FLAC", "real/d.wav", "in/._a.wav", "in/note.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "in/__MACOSX").mkdir()
    (tmp_path / "in/__MACOSX/e.wav").touch()
    (tmp_path / "in/a_link").symlink_to("../real")
    (tmp_path / "in/again").symlink_to("b")
    (tmp_path / "in/b/circle").symlink_to("..")
    with caplog.at_level("INFO", logger="ser_jax"):
        got = sources.expand([str(tmp_path / "in")])
    names = [source.name.removeprefix(f"{tmp_path}/in/") for source in got]
    assert names == ["a.wav", "a_link/d.wav", "b/c.FLAC"]
    assert f"a_link is a link to {tmp_path}/real" in caplog.text


def test_rows_without_a_path_are_named_by_their_line(tmp_path):
    table = tmp_path / "m.csv"
    table.write_bytes("path;emotion;\n;;\na.wav;anger;\n".encode("utf-16"))
    blank, whole = sources.expand([str(table)])
    assert (blank.name, blank.path) == ("m.csv, line 2", "")
    assert (whole.path, whole.label) == (str(tmp_path / "a.wav"), "anger")
