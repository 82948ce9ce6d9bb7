"""The constraint as changes to YAML: required node affinity, tolerations, image by digest. Works on any pod."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from buildmatrix import arch
from buildmatrix.deployspec import ARCH_LABEL, Pool
from buildmatrix.kube import placement
from buildmatrix.kube.objects import Path, at
from buildmatrix.kube.yamledit import Editor

TERMS: Path = ("nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms")


def expression(names: Sequence[str]) -> dict[str, Any]:
    """What a term must ask for."""
    return {"key": ARCH_LABEL, "operator": "In", "values": list(names)}


def affinity(editor: Editor, path: Path, names: tuple[str, ...], number: int = 0) -> None:
    """Bind the affinity at `path` to architectures: every term of it, since one alone is enough to match."""
    place = (*path, *TERMS)
    terms = at(editor.value(number), place)
    if not isinstance(terms, list) or not terms:
        editor.set(place, [{"matchExpressions": [expression(names)]}], number)
        return
    for index, term in enumerate(terms):
        own = (*place, index, "matchExpressions")
        found = term.get("matchExpressions") if isinstance(term, dict) else None
        said = [item if isinstance(item, dict) else {} for item in found or ()]
        bound = [i for i, one in enumerate(said) if one.get("key") == ARCH_LABEL and one.get("operator") == "In"]
        if not bound:
            editor.add(own, expression(names), number)
        for i in bound:
            editor.set_names((*own, i, "values"), kept(said[i].get("values"), names), number)


def kept(have: Any, names: tuple[str, ...]) -> tuple[str, ...]:
    """Of the names that somebody wrote those that are good, under Kubernetes' spelling; all good ones if none is."""
    said = [arch.normalise(str(word)) for word in have] if isinstance(have, list) else []
    return tuple(name for name in dict.fromkeys(said) if name in names) or names


def selector(editor: Editor, path: Path, names: tuple[str, ...], number: int = 0) -> None:
    """Spell a nodeSelector's architecture as Kubernetes does: x86_64 is amd64."""
    place = (*path, ARCH_LABEL)
    said = at(editor.value(number), place)
    proper = arch.normalise(said) if isinstance(said, str) else None
    if proper in names and proper != said:
        editor.set(place, proper, number)


def tolerations(editor: Editor, path: Path, pools: tuple[Pool, ...], names: Sequence[str], number: int = 0) -> None:
    """Tolerate the taints of a pool of each architecture where all of its pools have some."""
    for item in missing(at(editor.value(number), path), pools, names):
        editor.add(path, item, number)


def missing(have: Any, pools: tuple[Pool, ...], names: Sequence[str]) -> list[dict[str, str]]:
    """The tolerations that a pod with those in `have` needs for the pools of these architectures."""
    found: list[dict[str, str]] = []
    for name in names:
        own = [pool for pool in pools if pool.arch == name]
        pod = {"tolerations": [*(have if isinstance(have, list) else ()), *found]}
        lacking = [placement.untolerated(pod, pool.taints) for pool in own]
        if own and all(lacking):
            found += [placement.toleration(taint) for taint in min(lacking, key=len)]
    return found


def image(text: str, digest: str) -> str:
    """The same image by a digest; a tag stays for who reads it, engines go by the digest."""
    return f"{text.partition('@')[0]}@{digest}"
