"""The native module is missing: tests that need it say so, the others do not notice."""

from __future__ import annotations

import pytest

SENTENCE = (
    "the native module of */pytest_xsched cannot be loaded (*); build it with `pip install .`, "
    "which needs a C compiler, and run `pytest`; `python -m pytest` in a source tree imports the "
    "tree and not the installed package, except after `pip install -e .`"
)


@pytest.fixture
def not_built(pytester):
    """Makes the import of the native module fail, as if it had not been built."""
    pytester.makeconftest('import sys\nsys.modules["pytest_xsched.native._native"] = None')


def test_tests_that_measure_are_errors_and_the_others_pass(pytester, fresh, not_built):
    pytester.makepyfile("""
        from pytest_xsched import constant, matmul

        def test_measures(xsched): pass

        def test_measures_too(xqueues): pass

        def test_describes():
            assert matmul(512).label == "matmul(512)"
            assert constant("20/s").rate_hz == 20
        """)

    result = fresh()

    result.assert_outcomes(passed=1, errors=2)
    assert result.ret == 1
    result.stdout.fnmatch_lines([f"E *pytest_xsched.errors.NotBuilt: {SENTENCE}"] * 2)


def test_names_that_need_it_say_so_where_they_are_imported(pytester, fresh, not_built):
    pytester.makepyfile(
        test_other="def test_other(): pass",
        test_it="""
        import pytest
        import pytest_xsched

        @pytest.mark.parametrize("name", ["Run", "MeasuredQueue", "Session", "XQueues"])
        def test_it(name):
            with pytest.raises(pytest_xsched.NotBuilt) as error:
                getattr(pytest_xsched, name)
            assert isinstance(error.value, ImportError)
        """,
    )

    result = fresh()

    result.assert_outcomes(passed=5)


def test_options_and_markers_work_without_it(pytester, fresh, not_built):
    pytester.makepyfile("""
        import pytest

        @pytest.mark.xsched(seed=1)
        def test_it(): pass
        """)

    result = fresh("--xsched-device=sim", "--xsched-json=out.json")

    result.assert_outcomes(passed=1)
    assert result.ret == 0
