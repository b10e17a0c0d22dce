"""What `backends()` tells from metadata alone (R1), whatever is wrong with a distribution (R2)."""

from __future__ import annotations

import subprocess
import sys

import pytest

import corefutures


def test_lists_without_importing(site, registry):
    module = site.add("good", "raise SystemExit('imported')", version="2.5")
    status = registry.statuses()["good"]
    assert (status.name, status.state, status.reason) == ("good", "installed", None)
    assert (status.distribution, status.version) == ("fake-good", "2.5")
    assert module not in sys.modules


def test_users_door_lists_the_same(site, monkeypatch):
    site.add("good")
    assert corefutures.backends()["good"].state == "installed"


def test_is_sorted_and_read_only(site, registry):
    for name in ("zebra", "ant", "mule"):
        site.add(name)
    statuses = registry.statuses()
    assert list(statuses) == sorted(statuses)
    with pytest.raises(TypeError):
        statuses["ant"] = None


def test_becomes_available_once_loaded(site, registry):
    site.add("good")
    registry.get("good")
    assert registry.statuses()["good"].state == "available"


def test_a_failed_import_is_not_remembered_in_the_list(site, registry):
    site.add("bad", "1 / 0")
    with pytest.raises(corefutures.BackendBrokenError):
        registry.get("bad")
    assert registry.statuses()["bad"].state == "installed"


@pytest.mark.parametrize(
    ("entry_points", "listed", "reason"),
    [
        ("[corefutures.backends]\nbad {module}\n", "bad", "is not 'name = module'"),
        ("[corefutures.backends]\nbad = not a module!\n", "bad", "is not 'name = module'"),
        ("[corefutures.backends]\nbad =\n", "bad", "is not 'name = module'"),
        ("[corefutures.backends]\nbad name = {module}\n", "bad name", "cannot be the name"),
    ],
    ids=["no equals sign", "no module name", "nothing", "impossible name"],
)
def test_malformed_entry_point_is_broken(site, registry, entry_points, listed, reason):
    site.add("bad", entry_points=entry_points)
    site.add("good")
    statuses = registry.statuses()
    found = next(status for name, status in statuses.items() if name.startswith(listed))
    assert found.state == "broken"
    assert reason in found.reason
    assert statuses["good"].state == "installed"


def test_malformed_line_of_another_group_spoils_nothing(site, registry):
    text = "[console_scripts]\nwithout an equals sign\n\n[corefutures.backends]\ngood = {module}\n"
    site.add("good", entry_points=text)
    assert registry.statuses()["good"].state == "installed"
    assert registry.get("good").name == "good"


def test_comments_extras_and_spaces_are_understood(site, registry):
    text = "# a comment\n[corefutures.backends]\n; another\n  good  =  {module} [extra]  \n"
    site.add("good", entry_points=text)
    assert registry.get("good").name == "good"


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ("Metadata-Version: 2.1\nVersion: 1\n", "no name"),
        ("Metadata-Version: 2.1\nName: fake-bad\n", "no version"),
        ("", "metadata"),
        (None, "metadata"),
    ],
    ids=["no name", "no version", "empty", "missing"],
)
def test_malformed_metadata_is_broken(site, registry, metadata, reason):
    site.add("bad", metadata=metadata)
    site.add("good")
    statuses = registry.statuses()
    assert statuses["bad"].state == "broken"
    assert reason in statuses["bad"].reason
    assert statuses["good"].state == "installed"
    with pytest.raises(corefutures.BackendBrokenError, match="metadata"):
        registry.get("bad")


def test_unreadable_entry_points_spoil_nothing_and_are_told(site, registry):
    site.add("bad", entry_points=b"[corefutures.backends]\nbad = \xff\xfe\n")
    site.add("good")
    assert "good" in registry.statuses()
    with pytest.raises(corefutures.BackendNotFoundError, match=r"could not be read: fake_bad-1.0.dist-info"):
        registry.get("bad")


def test_failing_foreign_finder_spoils_nothing(site, registry, monkeypatch):
    class Finder:
        @staticmethod
        def find_spec(*_):
            return None

        @staticmethod
        def find_distributions(*_):
            raise OSError("this finder is out of order")

    site.add("good")
    monkeypatch.setattr(sys, "meta_path", [Finder, *sys.meta_path])
    assert registry.statuses()["good"].state == "installed"


def test_two_distributions_that_claim_a_name_conflict(site, registry):
    site.add("wanted", distribution="one", version="1.1")
    site.add("wanted", distribution="two", version="2.2")
    site.add("good")
    status = registry.statuses()["wanted"]
    assert status.state == "conflicting"
    assert "one 1.1" in status.reason
    assert "two 2.2" in status.reason
    assert registry.statuses()["good"].state == "installed"


def test_one_distribution_that_claims_a_name_twice_conflicts(site, registry):
    site.add("wanted", entry_points="[corefutures.backends]\nwanted = {module}\nwanted = {module}x\n")
    assert registry.statuses()["wanted"].state == "conflicting"


@pytest.mark.parametrize("name", ["fake-twin", "Fake_Twin", "fake.twin"])
def test_the_first_on_the_path_shadows_the_same_distribution(make_site, registry, name):
    make_site().add("twin", "1 / 0", distribution="fake-twin", version="1.0")
    make_site().add("twin", distribution=name, version="2.0")
    status = registry.statuses()["twin"]
    assert (status.state, status.version) == ("installed", "2.0")
    assert registry.get("twin").summary == "a fake"


def test_a_first_one_without_the_entry_point_shadows_too(make_site, registry):
    make_site().add("gone", distribution="fake-twin", version="1.0")
    make_site().add("gone", distribution="fake-twin", version="2.0", entry_points="[console_scripts]\n")
    assert "gone" not in registry.statuses()


def test_disabled_names_are_told_from_the_environment(site, registry, monkeypatch):
    site.add("good")
    site.add("other")
    monkeypatch.setenv("COREFUTURES_DISABLE", " good ,never-heard-of")
    assert registry.statuses()["good"].state == "disabled"
    assert "COREFUTURES_DISABLE" in registry.statuses()["good"].reason
    assert registry.statuses()["other"].state == "installed"
    monkeypatch.delenv("COREFUTURES_DISABLE")
    assert registry.statuses()["good"].state == "installed"


def test_a_distribution_installed_meanwhile_is_seen(site, registry):
    assert "late" not in registry.statuses()
    site.add("late")
    assert registry.get("late").name == "late"


def test_threads_that_look_for_backends_at_once_do_not_disturb_each_other(site, registry, monkeypatch):
    """`importlib.invalidate_caches` fails if another thread does the same at that moment."""

    class Finder:
        def invalidate_caches(self):
            sys.path_importer_cache.pop("relative", None)  # as the other thread does

    site.add("one")
    for name, finder in (("/finder", Finder()), ("relative", None)):
        monkeypatch.setitem(sys.path_importer_cache, name, finder)
    assert "one" in registry.statuses()
    assert "relative" not in sys.path_importer_cache


@pytest.mark.parametrize(
    "statement",
    [
        "import corefutures.backend",
        "from corefutures.backend import Backend, Capabilities, CONTRACT, Executor, Future",
    ],
)
def test_the_door_alone_imports_no_registry(statement):
    program = (
        f"import sys; {statement}; "
        "print([name for name in sys.modules if name.partition('.')[0] in "
        "('pluggy', 'importlib_metadata', 'pytest', 'multiprocessing') or name == 'corefutures.registry._registry'])"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=50, check=True)
    assert told.stdout == "[]\n"


def test_listing_imports_no_pluggy():
    program = "import sys, corefutures; corefutures.backends(); print('pluggy' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=50, check=True)
    assert told.stdout == "False\n"
