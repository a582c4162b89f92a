"""Counts a thread's calls of malloc by a C library that is put before the real one."""

import subprocess
from pathlib import Path
from typing import Final

# Each thread for itself: what a sender allocates in the background is not the caller's.
_COUNTER: Final = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>
static __thread long count __attribute__((tls_model("initial-exec")));
static void *(*real)(size_t);
void *malloc(size_t n) {
    if (!real) real = (void *(*)(size_t))dlsym(RTLD_NEXT, "malloc");
    count++;
    return real(n);
}
long cus_mallocs(void) { return count; }
"""


def preloaded(folder: Path) -> dict[str, str]:
    """The environment that counts; empty where nothing can be compiled."""
    source, library = folder / "counter.c", folder / "counter.so"
    source.write_text(_COUNTER)
    command = ["cc", "-O2", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return {}
    return {"LD_PRELOAD": str(library), "PYTHONMALLOC": "malloc"}
