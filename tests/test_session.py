"""What a session decides: device, precision, random streams, folders, what goes to stderr."""

from __future__ import annotations

import os
import pwd
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from deepscope import devices, session
from deepscope.errors import DeepscopeError, SettingError
from deepscope.kept import Cache
from deepscope.session import Session, default_cache, default_home, temporary_cache


@pytest.mark.parametrize("device", ["", "nonsense", "meta", "cuda:99", "xpu", "hpu", "fpga", "cpu:x"])
def test_a_device_that_is_not_here_is_refused_in_one_line(device: str) -> None:
    with pytest.raises(DeepscopeError, match="try cpu") as caught:
        Session.open(device=device)
    assert repr(device) in str(caught.value)


def test_devices_that_are_here() -> None:
    assert Session.open(device="cpu").device == torch.device("cpu")
    torch.zeros(1, device=Session.open(device="auto").device)


def test_precisions() -> None:
    assert Session.open(device="cpu", precision="bfloat16").precision == "bfloat16"
    with pytest.raises(DeepscopeError, match="must be auto, float32 or bfloat16"):
        Session.open(device="cpu", precision="float16")


def test_on_cuda_the_same_seed_gives_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[object] = []
    monkeypatch.setattr(session, "device_named", torch.device)
    monkeypatch.setattr(torch, "use_deterministic_algorithms", lambda *mode, **how: told.append((mode, how)))
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", False)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", True)
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    with warnings.catch_warnings():
        Session.open(device="cpu")
        Session(device=torch.device("cuda"))
        assert (told, torch.backends.cudnn.benchmark, "CUBLAS_WORKSPACE_CONFIG" in os.environ) == ([], True, False)
        assert Session.open(device="cuda:1").device == torch.device("cuda:1")
    assert told == [((True,), {"warn_only": True})]
    assert torch.backends.cudnn.deterministic and not torch.backends.cudnn.benchmark
    assert not torch.utils.deterministic.fill_uninitialized_memory  # pyright: ignore[reportAttributeAccessIssue]
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    Session.open(device="cuda")
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"


def numbers(session: Session, *stream: str | int) -> torch.Tensor:
    return torch.rand(1000, generator=session.rng(*stream))


def test_a_stream_is_reproducible() -> None:
    assert numbers(Session(seed=3), "attack", 7).equal(numbers(Session(seed=3), "attack", 7))
    first = torch.randint(0, 2**31, (3,), generator=Session(seed=0).rng("noise")).tolist()
    assert first == torch.randint(0, 2**31, (3,), generator=Session(seed=0).rng("noise")).tolist()


def test_streams_and_seeds_are_independent() -> None:
    streams = [
        numbers(Session(seed=seed), *name)
        for seed in (0, 1, 2**63)
        for name in (("attack",), ("attack", 0), ("attack", 1), ("noise",), ("attack0",), ())
    ]
    correlation = torch.corrcoef(torch.stack(streams)) - torch.eye(len(streams))
    assert correlation.abs().max() < 5 / 1000**0.5


def test_drawing_from_one_stream_moves_no_other_and_not_torchs_own() -> None:
    session = Session(seed=1)
    expected = numbers(session, "b")
    state = torch.get_rng_state()
    numbers(session, "a")
    assert numbers(session, "b").equal(expected)
    assert torch.get_rng_state().equal(state)


def test_folders_come_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DEEPSCOPE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DEEPSCOPE_CACHE", str(tmp_path / "cache"))
    session = Session.open(device="cpu")
    assert (session.home, session.cache) == (tmp_path / "home", tmp_path / "cache")
    assert Session.open(device="cpu", home=tmp_path).home == tmp_path
    assert list(tmp_path.iterdir()) == []  # nothing is made before it is needed
    monkeypatch.setenv("DEEPSCOPE_HOME", "")
    monkeypatch.setenv("DEEPSCOPE_CACHE", "~/c")
    session = Session.open(device="cpu")
    assert session.home.is_absolute()
    assert session.cache == Path.home() / "c"


def test_notes_go_to_stderr_as_they_are_unless_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    Session().note("[bold]1 of 2[/bold] " + "long " * 60)
    Session(quiet=True).note("nothing")
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "[bold]1 of 2[/bold] " + "long " * 60 + "\n"


def test_progress_away_from_a_terminal_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(Session().track(range(5), "counting")) == list(range(5))
    assert list(Session().track(iter("ab"), "counting", total=2)) == ["a", "b"]
    with Session(quiet=True).progress("steps", total=3) as advance:
        advance()
        advance(2, "renamed")
    assert capsys.readouterr() == ("", "")


def test_progress_runs_where_stderr_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", None)
    assert list(Session().track(range(5), "counting")) == list(range(5))


def test_some_are_drawn_by_the_seed_and_stay_in_order() -> None:
    letters = "abcdefghij"
    drawn = Session(seed=1).some(letters, 4)
    assert len(drawn) == 4 and sorted(set(drawn)) == drawn
    assert drawn == Session(seed=1).some(letters, 4) != Session(seed=2).some(letters, 4)
    assert Session().some(letters, None) == list(letters) == Session().some(letters, 99)


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process without HOME, of a user without an entry in passwd."""

    def unknown(who: object) -> None:
        raise KeyError(who)

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.setattr(pwd, "getpwnam", unknown)
    for name in ("HOME", "DEEPSCOPE_HOME", "DEEPSCOPE_CACHE", "XDG_CACHE_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)


def test_without_a_home_data_is_looked_for_where_all_users_have_it(nobody: None) -> None:
    session = Session.open(device="cpu")
    assert session.home.is_absolute()
    assert "~" not in str(session.home)
    assert session.cache == temporary_cache()
    assert not session.cache.exists()  # until it is used


def test_a_temporary_cache_is_said_once(nobody: None, capsys: pytest.CaptureFixture[str]) -> None:
    session = Session.open(device="cpu")
    for name in ("one", "two"):
        cache = Cache(session, session.cache / name)
        cache.write("x", b"1")
        assert cache.read("x") == b"1"
    assert capsys.readouterr().err.count("the cache is temporary") == 1


@pytest.mark.parametrize("given", ["~nobody-of-this-name/data", "~nobody-of-this-name"])
def test_the_home_of_a_user_that_does_not_exist(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPSCOPE_HOME", given)
    monkeypatch.setenv("DEEPSCOPE_CACHE", given)
    with pytest.raises(DeepscopeError, match=r"DEEPSCOPE_HOME is ~nobody-of-this-name.*no such user"):
        default_home()
    assert default_cache() == temporary_cache()


@pytest.mark.parametrize("given", ["", "relative", "relative/", "/no/such/place", "/dev/null"])
def test_folders_of_any_spelling_are_only_looked_at(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    for name, default in (("DEEPSCOPE_HOME", default_home), ("DEEPSCOPE_CACHE", default_cache)):
        monkeypatch.setenv(name, given)
        assert default() == Path(given) if given else default().is_absolute()


def test_a_note_of_one_topic_is_given_once_by_all_sessions_of_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    session = Session()
    replace(session, quiet=True).note_once("cache", "unheard")
    replace(session, seed=1).note_once("cache", "first")
    session.note_once("cache", "second")
    Session().note_once("cache", "of another command")
    assert capsys.readouterr().err.split("\n") == ["first", "of another command", ""]


@pytest.mark.parametrize(
    ("device", "rank", "count", "wanted"),
    [
        ("cuda", "3", 8, "cuda:3"),
        ("cuda", "3", 1, "cuda:0"),
        ("cuda", None, 8, "cuda"),
        ("cuda", "nonsense", 8, "cuda"),
        ("cuda:1", "3", 8, "cuda:1"),
        ("cpu", "3", 8, "cpu"),
    ],
)
def test_a_launcher_gives_each_process_its_own_gpu(
    device: str, rank: str | None, count: int, wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    if rank is not None:
        monkeypatch.setenv("LOCAL_RANK", rank)
    assert devices.of_rank(torch.device(device)) == torch.device(wanted)


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(SettingError, match="device cuda has 2 GPUs on this machine, and this is process 3"):
        devices.of_rank(torch.device("cuda"))


@pytest.mark.parametrize("name", ["auto", "cuda"])
def test_every_rank_opens_its_session_on_its_own_device(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for attribute, value in {"is_available": True, "device_count": 2}.items():
        monkeypatch.setattr(torch.cuda, attribute, lambda value=value: value)
    monkeypatch.setattr(torch, "zeros", lambda *_, device: torch.ones(1))  # no GPU is here to hold it
    monkeypatch.setattr(session, "repeatable", lambda: None)
    for rank in ("0", "1"):
        monkeypatch.setenv("LOCAL_RANK", rank)
        assert Session.open(device=name).device == torch.device("cuda", int(rank))


def test_one_thread_is_taken_back_also_after_an_error() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with pytest.raises(ValueError, match="inside"), devices.one_thread():
            assert torch.get_num_threads() == 1
            raise ValueError("inside")
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
