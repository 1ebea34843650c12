"""Reading shared libraries, made with the C compiler for the purpose."""

from __future__ import annotations

import contextlib
import shutil
import subprocess

import pytest

from pytest_xsched.system.elf import NotALibrary, Symbol, read_library

SOURCE = """
int hipMalloc(void) { return 1; }
int hipFree(void) { return 2; }
int XQueueCreate(void) { return 3; }
__attribute__((visibility("hidden"))) int hidden(void) { return 4; }
static int own(void) { return 5; }
int calls_own(void) { return own() + hidden(); }
__attribute__((weak)) int weak_one(void) { return 6; }
_Thread_local int per_thread;
"""

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc")


@pytest.fixture
def library(tmp_path):
    """Makes a shared library of C source; a version script is given as its text."""

    def make(source, *args, script=None, name="libtoy.so"):
        (tmp_path / "toy.c").write_text(source)
        if script is not None:
            (tmp_path / "toy.map").write_text(script)
            args = ("-Wl,--version-script=toy.map", *args)
        # Sources before libraries: a linker that drops what is not needed goes by that order.
        command = ["gcc", "-shared", "-fPIC", "-nostdlib", "-o", name, "toy.c", *args]
        subprocess.run(command, check=True, cwd=tmp_path)
        return tmp_path / name

    return make


def names(symbols):
    return {str(symbol) for symbol in symbols}


def test_exported_names(library):
    read = read_library(library(SOURCE))

    assert names(read.exported) == {
        *("hipMalloc", "hipFree", "XQueueCreate", "calls_own", "weak_one", "per_thread"),
    }
    assert read.undefined == ()
    assert (read.soname, read.needed, read.runpath) == ("", (), "")


def test_a_version_script_that_hides(library):
    read = read_library(library(SOURCE, script="{global: X*; local: *;};"))

    assert names(read.exported) == {"XQueueCreate"}


def test_versions(library):
    script = "hip_4.2 {global: hipMalloc; local: *;};\nhip_5.1 {global: hipFree;} hip_4.2;\n"

    read = read_library(library(SOURCE, script=script))

    assert names(read.exported) == {"hipMalloc@hip_4.2", "hipFree@hip_5.1"}
    assert all(symbol.default for symbol in read.exported)


def test_an_old_version_beside_the_default(library):
    source = """
    __asm__(".symver old, hipMalloc@hip_4.2");
    __asm__(".symver new, hipMalloc@@hip_6.0");
    int old(void) { return 1; }
    int new(void) { return 2; }
    """
    script = "hip_4.2 {global: hipMalloc; local: *;};\nhip_6.0 {} hip_4.2;\n"

    read = read_library(library(source, script=script))

    assert set(read.exported) == {
        Symbol(name="hipMalloc", version="hip_4.2", default=False),
        Symbol(name="hipMalloc", version="hip_6.0", default=True),
    }


def test_what_is_needed(library, tmp_path):
    script = "hip_4.2 {global: hipMalloc; local: *;};"
    library(SOURCE, "-Wl,-soname,libamdhip64.so.6", script=script, name="libamdhip64.so")
    user = """
    int hipMalloc(void), elsewhere(void);
    __attribute__((weak)) int perhaps(void);
    int use(void) { return hipMalloc() + elsewhere() + (perhaps ? perhaps() : 0); }
    """

    read = read_library(
        library(user, "-L.", "-lamdhip64", "-Wl,-rpath,$ORIGIN/../lib", name="libuser.so")
    )

    assert read.needed == ("libamdhip64.so.6",)
    assert read.runpath == "$ORIGIN/../lib"
    assert set(read.undefined) == {
        Symbol(name="hipMalloc", version="hip_4.2", file="libamdhip64.so.6"),
        Symbol(name="elsewhere"),
        Symbol(name="perhaps", weak=True),
    }
    assert names(read.exported) == {"use"}
    assert read_library(tmp_path / "libamdhip64.so").soname == "libamdhip64.so.6"


@pytest.mark.parametrize("style", ["gnu", "sysv", "both"])
def test_without_section_headers(library, style):
    """What a strip tool may have removed; the hash tables tell the number of symbols."""
    file = library("int absent(void);" + SOURCE + "int x(void) { return absent(); }",
                   f"-Wl,--hash-style={style}")  # fmt: skip
    whole = read_library(file)
    with open(file, "r+b") as handle:
        handle.seek(0x28)  # e_shoff
        handle.write(bytes(8))
        handle.seek(0x3C)  # e_shnum, e_shstrndx
        handle.write(bytes(4))

    assert read_library(file) == whole
    assert len(whole.exported) == 7 and names(whole.undefined) == {"absent"}


def test_a_library_of_this_python():
    """Against nm, where it is: names with versions, of a library that somebody else made."""
    if shutil.which("nm") is None:
        pytest.skip("no nm")
    import _ctypes

    for what, found in (
        ("--defined-only", read_library(_ctypes.__file__).exported),
        ("--undefined-only", read_library(_ctypes.__file__).undefined),
    ):
        shown = subprocess.run(
            ["nm", "-D", what, _ctypes.__file__], capture_output=True, text=True, check=True
        ).stdout
        assert names(found) == {
            line.split()[-1].replace("@@", "@")
            for line in shown.splitlines()
            if line.split()[-2] != "A"
        }
        assert found


def test_what_is_no_library(library, tmp_path):
    def message(path):
        with pytest.raises(NotALibrary) as error:
            read_library(path)
        text = str(error.value)
        assert text.startswith(f"{path}: ")
        return text.removeprefix(f"{path}: ")

    assert message(tmp_path / "missing.so") == "No such file or directory"
    assert message(tmp_path) == "Is a directory"
    (tmp_path / "text.so").write_text("INPUT(libtoy.so.1)\n")
    assert message(tmp_path / "text.so") == "not an ELF file"
    (tmp_path / "empty.so").touch()
    assert message(tmp_path / "empty.so") == "empty or damaged (0 bytes)"

    whole = library(SOURCE).read_bytes()
    for changed, expected in (
        (whole[:4] + b"\x01" + whole[5:], "ELF, but not 64-bit little-endian"),
        (whole[:5] + b"\x02" + whole[6:], "ELF, but not 64-bit little-endian"),
        (whole[:16] + b"\x01" + whole[17:], "ELF, but not a shared library (type 1)"),
        (whole[:100], "empty or damaged (100 bytes)"),
        (whole[:6], "empty or damaged (6 bytes)"),
    ):
        (tmp_path / "changed.so").write_bytes(changed)
        assert message(tmp_path / "changed.so") == expected


def test_no_damage_gives_anything_but_that_error(library, tmp_path):
    """Cut off anywhere, and with any one byte of the headers turned over."""
    whole = library(SOURCE, script="hip_4.2 {global: hip*; local: *;};").read_bytes()
    cut = [whole[:length] for length in range(0, len(whole), 97)]
    turned = [whole[:i] + bytes([whole[i] ^ 0xFF]) + whole[i + 1 :] for i in range(0, 0x300)]
    file = tmp_path / "damaged.so"
    for content in cut + turned:
        file.write_bytes(content)
        with contextlib.suppress(NotALibrary):
            read_library(file)


def test_an_executable_without_a_dynamic_section(tmp_path):
    (tmp_path / "main.c").write_text("int main(void) { return 0; }")
    built = subprocess.run(
        ["gcc", "-static", "-no-pie", "-o", "main", "main.c"], cwd=tmp_path, check=False
    )
    if built.returncode != 0:
        pytest.skip("no static C library")

    with pytest.raises(NotALibrary, match=r"not a shared library \(type 2\)"):
        read_library(tmp_path / "main")
