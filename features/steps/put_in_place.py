"""What somebody puts in a file's place between the look and the opening, or while it is written."""

import os
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

from behave import then, when

from steps.files import is_read, seen, succeeded, written, written_special


@when("meanwhile the target is {kind}")
def meanwhile(context, kind):
    context.files.make(context.files.target, kind)


@when("meanwhile the folder is moved, and a link to another folder put in its place")
def folder_moved(context):
    files = context.files
    files.moved, files.other = files.folder.with_name("moved"), files.folder.with_name("other")
    files.folder.rename(files.moved)
    files.other.mkdir()
    files.folder.symlink_to(files.other)


@when('"new" is written to it, whatever it is, and a file of "old" is put there between the look and the opening')
def swapped_before_writing(context):
    with swapped(context.files, 'a file of "old"'):
        written_special(context, "new")


@when('"new" is written to it, and a link to a file is put there right after the look')
def link_after_look(context):
    files, really, looked = context.files, Path.stat, []

    def look(path, **named):
        try:
            return really(path, **named)
        finally:
            if path == files.target and not looked:
                looked.append(path)
                files.make(path, "a link to a file")

    with mock.patch.object(Path, "stat", look):
        written(context, "new")
    assert looked, "it was not looked at"


@when("it is read, and {kind} is put there between the look and the opening")
def swapped_before_reading(context, kind):
    with swapped(context.files, kind):
        is_read(context)


@contextmanager
def swapped(files, kind):
    """Put something in the target's place right before it is opened."""
    really = os.open

    def swap(path, *arguments, **named):
        if path == files.target and seen(path) == files.known[path]:
            path.unlink()
            files.make(path, kind)
        return really(path, *arguments, **named)

    with mock.patch.object(os, "open", swap):
        yield


@then("the moved folder holds the target alone, and the other folder holds nothing")
def moved_holds(context):
    succeeded(context)
    assert [path.name for path in context.files.moved.iterdir()] == ["out.archive"]
    assert list(context.files.other.iterdir()) == []
