"""The rooms of the apps, and the arrows between them, from the code's own imports.

`python -m tests.architecture.cus_rooms` prints the diagram that stands in docs/architecture.md.
"""

import re
from collections.abc import Mapping

import grimp

APPS = ("aos_project", "enforcement", "telemetry", "integrations", "aos_sdk")
# What has rooms; the others are a room each.
WITH_ROOMS = ("integrations", "telemetry", "enforcement")
_ROOM = re.compile(rf"^({'|'.join(WITH_ROOMS)})\.(cus_\w+)\.")
Arrows = Mapping[str, set[str]]


def import_graph() -> grimp.ImportGraph:
    """All imports of the product's own modules, but for those that only types need."""
    return grimp.build_graph(*APPS, exclude_type_checking_imports=True, cache_dir=None)


def room_of(graph: grimp.ImportGraph, module: str) -> str | None:
    """Such as `integrations.cus_keys`; None for what stands at an app's top."""
    found = _ROOM.match(f"{module}.")
    room = f"{found[1]}.{found[2]}" if found else module
    return room if found and graph.find_children(room) else None


def arrows(graph: grimp.ImportGraph, app: str) -> Arrows:
    """Which of an app's rooms import which others."""
    inside = {module: room_of(graph, module) for module in graph.find_descendants(app)}
    found: dict[str, set[str]] = {room: set() for room in inside.values() if room}
    for module, room in inside.items():
        for imported in graph.find_modules_directly_imported_by(module):
            other = inside.get(imported)
            if room and other and other != room:
                found[room].add(other)
    return found


def without_detours(found: Arrows) -> Arrows:
    """The arrows that no way over other rooms replaces."""

    def reached(room: str) -> set[str]:
        direct = found[room]
        return direct.union(*(reached(one) for one in direct))

    return {
        room: {one for one in direct if not any(one in reached(o) for o in direct if o != one)}
        for room, direct in found.items()
    }


def diagram(graph: grimp.ImportGraph) -> str:
    """A Mermaid diagram of all rooms; an arrow means that the first uses the second."""
    lines = ["flowchart TD"]
    for app in WITH_ROOMS:
        found = without_detours(arrows(graph, app))
        names = {room: room.rpartition(".")[2] for room in found}
        lines.append(f"  subgraph {app}")
        lines += [f"    {app}.{name}[{name}]" for name in sorted(names.values())]
        lines += [f"    {a} --> {b}" for a in sorted(found) for b in sorted(found[a])]
        lines.append("  end")
    return "\n".join(lines)


if __name__ == "__main__":
    print(diagram(import_graph()))  # noqa: T201  (a command)
