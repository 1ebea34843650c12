"""Read what a shared library exports and needs, from its file and without loading it.

That is: the dynamic symbols of a 64-bit little-endian ELF file with the names of their versions,
and the entries of its dynamic section that name the libraries which the loader searches for.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pytest_xsched.errors import XSchedError


class NotALibrary(XSchedError):
    """A file is not a readable shared library; the message has its path and the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Symbol:
    """One dynamic symbol.

    Attributes:
        name: as the linker knows it; C++ names are mangled.
        version: of the symbol, ``"hip_4.2"``; "" without one.
        file: of a needed symbol with a version, the library that has to export it.
        weak: of a needed symbol, whether it may be missing.
        default: of an exported symbol, whether it satisfies a need without a version.
    """

    name: str
    version: str = ""
    file: str = ""
    weak: bool = False
    default: bool = True

    def __str__(self) -> str:
        return f"{self.name}@{self.version}" if self.version else self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedLibrary:
    """The dynamic section and the dynamic symbols of one file.

    Attributes:
        path: of the file.
        soname: its own name for itself, or "".
        needed: the names of the libraries that it is linked with, in order.
        runpath: DT_RUNPATH unchanged, else DT_RPATH, or "".
        exported: the symbols that other files can find in it; neither hidden nor local ones.
        undefined: the symbols that other files have to export.
    """

    path: str
    soname: str
    needed: tuple[str, ...]
    runpath: str
    exported: tuple[Symbol, ...]
    undefined: tuple[Symbol, ...]


def read_library(path: str | os.PathLike[str]) -> SharedLibrary:
    """Read a shared library.

    Raises:
        NotALibrary: the file cannot be read, or is something else.
    """
    name = os.fspath(path)
    try:
        with open(name, "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as data:
            return _read(name, data)
    except OSError as error:
        raise NotALibrary(f"{name}: {error.strerror or error}") from None
    except (ValueError, OverflowError, LookupError, struct.error):
        # mmap of an empty file, or an offset that points out of the file.
        size = Path(name).stat().st_size
        raise NotALibrary(f"{name}: empty or damaged ({size} bytes)") from None


_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_PROGRAM = struct.Struct("<IIQQQQQQ")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_DYNAMIC = struct.Struct("<QQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_VERDEF = struct.Struct("<HHHHIII")
_VERNEED = struct.Struct("<HHIII")
_VERNAUX = struct.Struct("<IHHII")

_ET_DYN = 3
_PT_LOAD, _PT_DYNAMIC = 1, 2
_SHT_DYNSYM = 11
_DT_NEEDED, _DT_HASH, _DT_STRTAB, _DT_SYMTAB, _DT_SONAME, _DT_RPATH = 1, 4, 5, 6, 14, 15
_DT_RUNPATH, _DT_GNU_HASH = 29, 0x6FFFFEF5
_DT_VERSYM, _DT_VERDEF, _DT_VERNEED = 0x6FFFFFF0, 0x6FFFFFFC, 0x6FFFFFFE
_STB_LOCAL, _STB_WEAK = 0, 2
_STV_DEFAULT, _STV_PROTECTED = 0, 3
_SHN_UNDEF, _SHN_ABS = 0, 0xFFF1
_VER_LOCAL, _VER_HIDDEN = 0, 0x8000


class _Image:
    """The bytes of a file, addressed as they lie in memory after loading."""

    def __init__(self, data: mmap.mmap, loads: list[tuple[int, int, int]]) -> None:
        self.data = data
        self._loads = loads

    def offset(self, address: int) -> int:
        for start, at, size in self._loads:
            if start <= address < start + size:
                return address - start + at
        raise IndexError(address)

    def string(self, table: int, index: int) -> str:
        start = table + index
        end = self.data.find(b"\0", start)
        if end < 0:
            raise IndexError(start)
        return self.data[start:end].decode("utf-8", "surrogateescape")


def _read(path: str, data: mmap.mmap) -> SharedLibrary:
    if data[:4] != b"\x7fELF":
        raise NotALibrary(f"{path}: not an ELF file")
    if data[4:6] != b"\x02\x01":
        raise NotALibrary(f"{path}: ELF, but not 64-bit little-endian")
    header = _HEADER.unpack_from(data)
    if header[1] != _ET_DYN:
        raise NotALibrary(f"{path}: ELF, but not a shared library (type {header[1]})")
    programs = [_PROGRAM.unpack_from(data, header[5] + i * header[9]) for i in range(header[10])]
    image = _Image(data, [(p[3], p[2], p[5]) for p in programs if p[0] == _PT_LOAD])
    where = [p[2] for p in programs if p[0] == _PT_DYNAMIC]
    if not where:
        raise NotALibrary(f"{path}: ELF without a dynamic section (statically linked)")
    entries = list(_dynamic(data, where[0]))
    tags = dict(reversed(entries))  # the loader uses the first of each
    strings = image.offset(tags[_DT_STRTAB])
    exported, undefined = _symbols(image, tags, strings, _symbol_count(image, tags, header))
    path_tag = _DT_RUNPATH if _DT_RUNPATH in tags else _DT_RPATH
    return SharedLibrary(
        path=path,
        soname=image.string(strings, tags[_DT_SONAME]) if _DT_SONAME in tags else "",
        needed=tuple(image.string(strings, value) for tag, value in entries if tag == _DT_NEEDED),
        runpath=image.string(strings, tags[path_tag]) if path_tag in tags else "",
        exported=tuple(exported),
        undefined=tuple(undefined),
    )


def _dynamic(data: mmap.mmap, at: int) -> Iterator[tuple[int, int]]:
    while True:
        tag, value = _DYNAMIC.unpack_from(data, at)
        if tag == 0:
            return
        yield tag, value
        at += _DYNAMIC.size


def _symbol_count(image: _Image, tags: dict[int, int], header: tuple[int, ...]) -> int:
    """Count the symbols: from the section table, which a file may lack, else from a hash table."""
    for i in range(header[12]):
        section = _SECTION.unpack_from(image.data, header[6] + i * header[11])
        if section[1] == _SHT_DYNSYM:
            return int(section[5]) // _SYMBOL.size
    if _DT_HASH in tags:
        return int(struct.unpack_from("<II", image.data, image.offset(tags[_DT_HASH]))[1])
    return _gnu_hash_count(image, image.offset(tags[_DT_GNU_HASH]))


def _gnu_hash_count(image: _Image, at: int) -> int:
    """Count the symbols by following the last chain, which ends at the last symbol.

    A file that exports nothing has no chain.
    """
    buckets, first, bloom, _ = struct.unpack_from("<IIII", image.data, at)
    chains = at + 16 + bloom * 8
    last = max(struct.unpack_from(f"<{buckets}I", image.data, chains), default=0)
    if last < first:
        return int(first)
    chains += buckets * 4
    while not struct.unpack_from("<I", image.data, chains + (last - first) * 4)[0] & 1:
        last += 1
    return int(last) + 1


def _symbols(
    image: _Image, tags: dict[int, int], strings: int, count: int
) -> tuple[list[Symbol], list[Symbol]]:
    defined, wanted = (
        _defined_versions(image, tags, strings),
        _needed_versions(image, tags, strings),
    )
    start = image.offset(tags[_DT_SYMTAB])
    table = image.data[start : start + count * _SYMBOL.size]
    if len(table) != count * _SYMBOL.size:
        raise IndexError(count)
    versions = [1] * count
    if _DT_VERSYM in tags:
        versions = list(
            struct.unpack_from(f"<{count}H", image.data, image.offset(tags[_DT_VERSYM]))
        )
    exported, undefined = [], []
    for (name, info, other, section, _, _), version in zip(
        _SYMBOL.iter_unpack(table), versions, strict=True
    ):
        number = version & ~_VER_HIDDEN
        if info >> 4 == _STB_LOCAL or other & 3 not in (_STV_DEFAULT, _STV_PROTECTED):
            continue
        text = image.string(strings, name)
        if section == _SHN_UNDEF:
            of, file = wanted.get(number, ("", ""))
            weak = info >> 4 == _STB_WEAK
            undefined.append(Symbol(name=text, version=of, file=file, weak=weak))
        elif number != _VER_LOCAL:
            of = defined.get(number, "")
            if section == _SHN_ABS and text == of:
                continue  # the version itself, for which linkers make a symbol
            default = not version & _VER_HIDDEN
            exported.append(Symbol(name=text, version=of, default=default))
    return exported, undefined


def _defined_versions(image: _Image, tags: dict[int, int], strings: int) -> dict[int, str]:
    """Return names by number, without the base version, which names the file."""
    found: dict[int, str] = {}
    at = image.offset(tags[_DT_VERDEF]) if _DT_VERDEF in tags else None
    while at is not None:
        _, flags, number, _, _, names, following = _VERDEF.unpack_from(image.data, at)
        if not flags & 1:
            (name,) = struct.unpack_from("<I", image.data, at + names)
            found[number] = image.string(strings, name)
        at = at + following if following else None
    return found


def _needed_versions(
    image: _Image, tags: dict[int, int], strings: int
) -> dict[int, tuple[str, str]]:
    """Return name and file by number."""
    found: dict[int, tuple[str, str]] = {}
    at = image.offset(tags[_DT_VERNEED]) if _DT_VERNEED in tags else None
    while at is not None:
        _, count, file, names, following = _VERNEED.unpack_from(image.data, at)
        entry = at + names
        for _ in range(count):
            _, _, number, name, next_entry = _VERNAUX.unpack_from(image.data, entry)
            found[number] = (image.string(strings, name), image.string(strings, file))
            entry += next_entry
        at = at + following if following else None
    return found
