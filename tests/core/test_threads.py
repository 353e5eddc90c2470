"""Threads wait without spinning and are no more than the machine gives; what the user has set stands."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from echokdm.core import threads


def group(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text + "\n")


def quota(tmp_path: Path, lines: str) -> float | None:
    (tmp_path / "own").write_text(lines)
    return threads.quota(tmp_path / "groups", tmp_path / "own")


def test_the_second_version_is_bound_by_every_parent(tmp_path: Path) -> None:
    groups = tmp_path / "groups"
    group(groups / "job" / "step", cpu__max="max 100000")
    assert quota(tmp_path, "0::/job/step\n") is None
    group(groups / "job", cpu__max="250000 100000")
    assert quota(tmp_path, "0::/job/step\n") == 2.5
    group(groups / "job" / "step", cpu__max="75000 50000")
    assert quota(tmp_path, "0::/job/step\n") == 1.5


def test_in_a_container_the_group_at_the_top_counts(tmp_path: Path) -> None:
    group(tmp_path / "groups", cpu__max="50000 100000")
    assert quota(tmp_path, "0::/\n") == quota(tmp_path, "0::/system.slice/docker-1f.scope\n") == 0.5


@pytest.mark.parametrize("folder", ["cpu,cpuacct", "cpu"])
def test_the_first_version(tmp_path: Path, folder: str) -> None:
    top = tmp_path / "groups" / folder
    lines = "12:memory:/job\n4:cpu,cpuacct:/job/step\n0::/job\n"
    group(top / "job" / "step", cpu__cfs_quota_us="-1", cpu__cfs_period_us="100000")
    assert quota(tmp_path, lines) is None
    group(top / "job", cpu__cfs_quota_us="300000", cpu__cfs_period_us="100000")
    assert quota(tmp_path, lines) == 3


def test_no_linux_and_unreadable_files_are_no_bound(tmp_path: Path) -> None:
    assert threads.quota(tmp_path, tmp_path / "none") is None
    group(tmp_path / "groups" / "job", cpu__max="what")
    assert quota(tmp_path, "0::/job\n") is None


def test_half_a_processor_is_one_thread() -> None:
    assert [threads.threads_of(share) for share in (0.5, 1.0, 1.9, 2.0, 3.7)] == [1, 1, 1, 2, 3]


def test_a_quota_below_the_processors_bounds_the_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "processors", lambda: 8)
    monkeypatch.delitem(sys.modules, "torch")
    for share, given, count, said in (
        (2.5, None, "2", "quota is 2.5 of 8"),
        (8.0, None, None, "of 8 processors"),
        (None, None, None, "of 8 processors"),
        (2.5, "5", "5", "OMP_NUM_THREADS"),
    ):
        monkeypatch.setattr(threads, "quota", lambda share=share: share)
        for name in (threads.COUNT, threads.WAIT):
            monkeypatch.delenv(name, raising=False)
        if given:
            monkeypatch.setenv(threads.COUNT, given)
        threads.arrange()
        assert os.environ.get(threads.COUNT) == count and os.environ[threads.WAIT] == "PASSIVE"
        assert said in threads.source()


def seen(code: str, **given: str) -> dict[str, str | int | None]:
    """What a fresh process prints as JSON."""
    environment = {
        name: value for name, value in os.environ.items() if name not in (threads.COUNT, threads.WAIT)
    } | given
    done = subprocess.run(
        [sys.executable, "-c", f"import json, os\n{code}"], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


WAITS = 'print(json.dumps({"wait": os.environ.get("OMP_WAIT_POLICY"), "count": torch.get_num_threads()}))'


def test_it_is_said_before_torch_is_loaded_and_never_after() -> None:
    assert seen(f"import echokdm, torch\n{WAITS}")["wait"] == "PASSIVE"
    assert seen(f"import torch, echokdm\n{WAITS}")["wait"] is None
    assert seen(f"import echokdm, torch\n{WAITS}", OMP_WAIT_POLICY="ACTIVE", OMP_NUM_THREADS="1") == {
        "wait": "ACTIVE",
        "count": 1,
    }


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system has no processor affinity")
def test_torch_takes_no_more_threads_than_processors_it_may_use() -> None:
    assert (
        seen(f"os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])\nimport echokdm, torch\n{WAITS}")["count"] == 1
    )
