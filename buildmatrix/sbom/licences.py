"""Recognises licence texts by all of their words, and knows which expressions may stand in a bill. Pure.

A text is reduced to its lower-case words. Long licences are recognised by the SHA-256 of the words between
their first and their last, short ones by a pattern with gaps where names stand. What is left must be
titles, copyright lines or the usual appendix: a licence with something added or taken away is none that
has an SPDX id, and gets none here.
"""

from __future__ import annotations

import functools
import hashlib
import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class _Long:
    """A licence by the words that it begins and ends with, and the digest of all of them."""

    id: str
    first: str
    last: str
    sha256: str


_LONG = (
    _Long(
        id="Apache-2.0",
        first="apache license version 2 0 january 2004",
        last="end of terms and conditions",
        sha256="f45538b138cf9aea39fa205de037a0bede8305e68281650e7ab809a8b3ebb2f0",
    ),
    _Long(
        id="GPL-2.0-only",
        first="gnu general public license version 2 june 1991",
        last="end of terms and conditions",
        sha256="e1270b653c300290e7c039142bccb8776f9b5d14e8a05bc4e87dc7d1614a3b34",
    ),
    _Long(
        id="GPL-3.0-only",
        first="gnu general public license version 3 29 june 2007",
        last="end of terms and conditions",
        sha256="ac6b52d57c0104e687039148f7b8e370e04c9bb5705bb786f8ef814eb65e8636",
    ),
    _Long(
        id="LGPL-2.1-only",
        first="gnu lesser general public license version 2 1 february 1999",
        last="end of terms and conditions",
        sha256="e8fff5aab68f3784c88bdf6c7d677d555dbfc3274d7e0a03da4870604bf989ed",
    ),
    _Long(
        id="LGPL-3.0-only",
        first="gnu lesser general public license version 3 29 june 2007",
        last="permanent authorization for you to choose that version for the library",
        sha256="aae2b222477171fb64e298e7965e768a9a6f85320646b266c94399ac029d42be",
    ),
    _Long(
        id="MPL-2.0",
        first="mozilla public license version 2 0",
        last="this source code form is incompatible with secondary licenses as defined by the mozilla public "
        "license v 2 0",
        sha256="f82071285728ca3ec7685ee9bc4acdae0b8267142a4d20b8f1805eabedb4a98a",
    ),
    _Long(
        id="CC0-1.0",
        first="creative commons legal code cc0 1 0 universal",
        last="with respect to this cc0 or use of the work",
        sha256="96bdc7f63190fb4bd1ae584b890300ed7517d858b34c945642a3b9b2f1612a5f",
    ),
)

_ANCHOR = re.compile(r"[a-z ]{24}")
"""What a text must hold for a pattern to be worth trying."""
_NAME = r"(?:\S+ ){1,16}?"
_DISCLAIMED = (
    rf"this software is provided by {_NAME}as is and any express or implied warranties including but not limited to "
    r"the implied warranties of merchantability and fitness for a particular purpose are disclaimed in no event "
    rf"shall {_NAME}be liable for any direct indirect incidental special exemplary or consequential damages "
    r"including but not limited to procurement of substitute goods or services loss of use data or profits or "
    r"business interruption however caused and on any theory of liability whether in contract strict liability or "
    r"tort including negligence or otherwise arising in any way out of the use of this software even if advised of "
    r"the possibility of such damage"
)
_BSD = (
    r"redistribution and use in source and binary forms with or without modification are permitted provided that "
    r"the following conditions are met (?:1 )?redistributions of source code must retain the above copyright notice "
    r"this list of conditions and the following disclaimer (?:2 )?redistributions in binary form must reproduce the "
    r"above copyright notice this list of conditions and the following disclaimer in the documentation and or other "
    r"materials provided with the distribution "
)
_GRANT = (
    r"permission is hereby granted free of charge to any person obtaining a copy of this software and associated "
    r"documentation files the software to deal in the software without restriction including without limitation the "
    r"rights to use copy modify merge publish distribute sublicense and or sell copies of the software and to permit "
    r"persons to whom the software is furnished to do so subject to the following conditions the above copyright "
    r"notice and this permission notice (?:including the next paragraph )?shall be included in all copies or "
    r"substantial portions of the software "
)
_ISC = (
    r"permission to use copy modify and or distribute this software for any purpose with or without fee is "
    r"hereby granted "
)
_ISC_DISCLAIMED = (
    rf"the software is provided as is and {_NAME}disclaims? all warranties with regard to this software including all "
    rf"implied warranties of merchantability and fitness in no event shall {_NAME}be liable for any special direct "
    r"indirect or consequential damages or any damages whatsoever resulting from loss of use data or profits whether "
    r"in an action of contract negligence or other tortious action arising out of or in connection with the use or "
    r"performance of this software"
)
_SHORT: tuple[tuple[str, str, re.Pattern[str]], ...] = tuple(
    (identifier, _ANCHOR.match(pattern)[0], re.compile(pattern))  # type: ignore[index]  # each begins with words
    for identifier, pattern in (
        (
            "BSD-3-Clause",
            rf"{_BSD}(?:3 )?neither the names? (?:of )?{_NAME}(?:nor the names of (?:its|their|the) contributors )?may "
            rf"be used to endorse or promote products derived from this software without specific prior written "
            rf"permission {_DISCLAIMED}",
        ),
        ("BSD-2-Clause", _BSD + _DISCLAIMED),
        (
            "MIT",
            rf"{_GRANT}the software is provided as is without warranty of any kind express or implied including but "
            rf"not limited to the warranties of merchantability fitness for a particular purpose and noninfringement "
            rf"in no event shall {_NAME}be liable for any claim damages or other liability whether in an action of "
            rf"contract tort or otherwise arising from out of or in connection with the software or the use or other "
            rf"dealings in the software",
        ),
        (
            "ISC",
            rf"{_ISC}provided that the above copyright notice and this permission notice appear in all copies "
            rf"{_ISC_DISCLAIMED}",
        ),
        ("0BSD", _ISC + _ISC_DISCLAIMED),
        (
            "Unlicense",
            r"this is free and unencumbered software released into the public domain anyone is free to copy modify "
            r"publish use compile sell or distribute this software .{900,1200} in the software for more information "
            r"please refer to https? unlicense org",
        ),
        (
            "Zlib",
            r"this software is provided as is without any express or implied warranty in no event will the authors be "
            r"held liable for any damages arising from the use of this software permission is granted to anyone to use "
            r"this software for any purpose including commercial applications and to alter it and redistribute it "
            r"freely subject to the following restrictions 1 the origin of this software must not be misrepresented "
            r"you must not claim that you wrote the original software if you use this software in a product an "
            r"acknowledgment in the product documentation would be appreciated but is not required 2 altered source "
            r"versions must be plainly marked as such and must not be misrepresented as being the original software 3 "
            r"this notice may not be removed or altered from any source distribution",
        ),
    )
)

DETECTED = frozenset({item.id for item in _LONG} | {identifier for identifier, _, _ in _SHORT})
"""Every SPDX id that `detect` can give."""

_WORD = re.compile(r"[a-z0-9]+")
_NOTICE = re.compile(
    r"(?im)^\W*((portions )?copyright(ed)?:?\s+(\(c\)|©|by\b|the\b(?! (license|holder|owner|notice))|\W?\d{4}|\W?yyyy)"
    r"|\(c\)\s+\d{4}|©|all rights reserved).*$"
)
_APPENDIX = re.compile(r"(appendix )?how to apply (these terms|the apache license)\b.*")
_TITLE = re.compile(
    r"\b(the|license|licensed|under|mit|x11|expat|bsd|[23] clause|new|modified|simplified|revised|isc|zlib|"
    r"all rights reserved|software|terms|apache|version 2 0|by|and|is|of|follows|as|this|project|covered|"
    r"https?|www|opensource|org|licenses|txt|html|spdx|identifier|apl)\b"
)
_SPARE_WORDS = 12
_FILE = re.compile(r"[A-Za-z0-9._-]{1,64}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@functools.lru_cache(maxsize=1024)
def detect(text: str) -> str:
    """The SPDX expression of a licence file's text; empty where it is not one that is known, word for word."""
    rest = " ".join(_WORD.findall(_NOTICE.sub(" ", text).lower().replace("licence", "license")))
    found = []
    for item in _LONG:
        start, end = rest.find(item.first), rest.find(item.last)
        if 0 <= start < end:
            body = rest[start : end + len(item.last)]
            if hashlib.sha256(body.encode("ascii")).hexdigest() == item.sha256:
                found.append(item.id)
                rest = rest[:start] + _APPENDIX.sub("", rest[end + len(item.last) :].strip())
    for identifier, anchor, pattern in _SHORT:
        rest, count = pattern.subn(" ", rest) if anchor in rest else (rest, 0)
        if count:
            found.append(identifier)
    left = len(_WORD.findall(_TITLE.sub(" ", rest)))
    return " AND ".join(sorted(found)) if found and left <= _SPARE_WORDS else ""


def is_evidence(expression: str, file: str, sha256: str) -> bool:
    """Whether a licence note has the shape that `detect` and its caller give it."""
    ids = expression.split(" AND ")
    known = set(ids) <= DETECTED and ids == sorted(set(ids))
    return known and _FILE.fullmatch(file) is not None and _SHA256.fullmatch(sha256) is not None
