"""The key store's small JSON objects, on a folder or on object storage, and what can go wrong with them.

Why: every guarantee of the key store rests on one operation, create-if-absent: of several makers of one object exactly
one wins, and nobody sees half of it. Mechanism: obstore; a folder's create is a staged file and a hard link, object
storage's a conditional put. Never told apart by guessing: an object that is not there, and a store that is not there;
`read` looks for the store's own mark (`platform-secret.json`) before it says "absent".

Limits: a local object that was overwritten leaves the file system, not the medium it lay on. obstore's clients do not
survive a fork: spawn processes.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError
from obstore.store import LocalStore, ObjectStore, from_url

from resources.failures import PermanentFailure, TransientFailure
from transforms.names import BASE32, PSEUDONYM, SUFFIX_CHARACTERS, shown
from transforms.reasons import Reason

MARK = "platform-secret.json"
"""Made last by `initialise`: where it stands, the store is there and whole."""


LOCK = ".lock"

_WHOSE = re.compile(rf"(?<![a-z2-7]){PSEUDONYM.pattern}(?=(-{BASE32}{{{SUFFIX_CHARACTERS}}})?\.(json|current|next)\b)")


def nameless(text: str) -> str:
    """A path or message with `*` for each pseudonym in an object's name: errors reach logs that outlive the day.

    With the key's suffix left in it, the path is a pattern that finds the object still.
    """
    return _WHOSE.sub("*", text)


class KeyUnavailable(TransientFailure):
    """The key store cannot say: it is away, damaged or switched off (503 at a door, a later try elsewhere)."""


class UnknownKey(PermanentFailure):
    """The key store has never held this key, or the name is no key's name at all."""

    reason = Reason.UNKNOWN_KEY

    def __init__(self, name: str) -> None:
        self.name = name
        self.detail = f"The key store holds no key named {shown(name)}, and no trace of one destroyed."
        super().__init__(self.detail)


class KeyDestroyed(PermanentFailure):
    """The key was destroyed, alone or with its day: what it sealed stays dark."""

    reason = Reason.KEY_DESTROYED

    def __init__(self, name: str, when: datetime, who: str) -> None:
        self.name, self.when, self.who = name, when, who
        self.detail = f"The key {name} was destroyed at {when.isoformat()}."
        super().__init__(self.detail)


class DayDestroyed(PermanentFailure):
    """The day was destroyed: it takes no new key (410 at a door)."""

    def __init__(self, day: str, when: datetime, who: str) -> None:
        self.day, self.when, self.who = day, when, who
        self.detail = f"The day {day} was destroyed at {when.isoformat()} and takes no new image."
        super().__init__(self.detail)


class KeyObjects:
    """JSON objects by path below one root. Every failure of the store is `KeyUnavailable`."""

    def __init__(
        self, root: str, options: Mapping[str, Any] | None = None, forget: Callable[[str], object] | None = None
    ) -> None:
        """Nothing is read here. `root` is a folder, or a URL that obstore knows (file, s3, gs, az); `options` are
        keyword arguments of obstore's store there; `forget` deletes the older versions of objects whose path begins so,
        where the place keeps such."""
        self.root = root
        self._forget = forget
        self._options = dict(options or {})
        parts = urlsplit(root)
        self._folder = Path(unquote(parts.path)) if parts.scheme == "file" else None if "://" in root else Path(root)
        self._store: ObjectStore | None = None

    def prepare(self) -> None:
        """Make the root folder, for its owner alone; on object storage the bucket is made by whoever owns it."""
        if self._folder is None:
            return
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._folder.chmod(0o700)
        except OSError as error:
            raise self._away("make the folder", "", error) from error

    def read(self, path: str, *, store_must_exist: bool = True) -> dict[str, Any] | None:
        """The object, or None where the store is there and holds no such object."""
        try:
            raw = bytes(self._opened().get(path).bytes())
        except FileNotFoundError:
            if store_must_exist and path != MARK:
                self.require_store()
            return None
        except (BaseError, OSError) as error:
            raise self._away("read", path, error) from error
        try:
            document = json.loads(raw)
        except ValueError:
            # The parser's error carries the text, which may hold a key: it goes no further than this line.
            document = None
        if not isinstance(document, dict):
            raise self.damaged(path, "it is no JSON object")
        return document

    def create(self, path: str, document: Mapping[str, Any], *, store_must_exist: bool = True) -> bool:
        """Write the object unless there is one; False where another was first, and nothing was changed."""
        if store_must_exist:
            self.require_store()  # a put into a folder that is away would make a new, empty store in its place
        try:
            self._opened().put(path, json.dumps(document).encode(), mode="create")
        except (AlreadyExistsError, FileExistsError):
            return False
        except (BaseError, OSError) as error:
            raise self._away("create", path, error) from error
        self._settle(path)
        return True

    def replace(self, path: str, document: Mapping[str, Any]) -> None:
        """Write the object over whatever stands there."""
        self.require_store()
        with self._alone(path):
            self._put(path, document, "overwrite", True)

    def exchange(self, path: str, document: Mapping[str, Any], was: Mapping[str, Any], *, forget: bool = True) -> bool:
        """Write the object over the one that was read as `was`; False where another stands there by now, and nothing
        was changed. `forget=False` leaves older versions to who may delete them.

        In a folder by a lock that every `replace` and `exchange` takes; on object storage by a put on condition that
        the object is still the same (If-Match).
        """
        self.require_store()
        with self._alone(path):
            try:
                found = self._opened().get(path)
                stands, version = json.loads(bytes(found.bytes())), found.meta
            except (FileNotFoundError, ValueError):
                return False
            except (BaseError, OSError) as error:
                raise self._away("read", path, error) from error
            if stands != was:
                return False
            same = {name: str(version[name]) for name in ("e_tag", "version") if version[name] is not None}
            return self._put(path, document, "overwrite" if self._folder is not None else same, forget)

    def _put(self, path: str, document: Mapping[str, Any], mode: Any, forget: bool) -> bool:
        try:
            self._opened().put(path, json.dumps(document).encode(), mode=mode)
        except PreconditionError:
            return False
        except (BaseError, OSError) as error:
            raise self._away("replace", path, error) from error
        self._settle(path)
        if forget:
            self.forget_versions(path)
        return True

    @contextmanager
    def _alone(self, path: str) -> Iterator[None]:
        """In a folder, hold the lock of those who write over objects; it ends with the process that holds it."""
        if self._folder is None:
            yield
            return
        try:
            lock = os.open(self._folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise self._away("lock", path, error) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def forget_versions(self, prefix: str) -> None:
        """Delete the older versions of objects whose path begins so: a bucket may keep what was written over."""
        if self._forget is None:
            return
        try:
            self._forget(prefix)
        except Exception as error:
            # botocore's errors have no base in common, and it is imported only where there is a bucket.
            raise self._away("delete older versions of", prefix, error) from error

    def delete(self, path: str) -> None:
        """Remove an object that nothing refers to; one that is gone already is no error."""
        try:
            self._opened().delete(path)
        except FileNotFoundError:
            return
        except (BaseError, OSError) as error:
            raise self._away("delete", path, error) from error

    def names(self, prefix: str) -> list[str]:
        """File names of the objects directly below `prefix`, sorted."""
        try:
            found = [entry["path"].rpartition("/")[2] for chunk in self._opened().list(prefix) for entry in chunk]
        except (BaseError, OSError) as error:
            raise self._away("list", prefix, error) from error
        if not found:
            self.require_store()
        return sorted(found)

    def holds(self, prefix: str) -> bool:
        """Whether any object lies directly below `prefix`, store or no store."""
        try:
            return any(chunk for chunk in self._opened().list(prefix))
        except (BaseError, OSError) as error:
            raise self._away("list", prefix, error) from error

    def require_store(self) -> None:
        """Raise KeyUnavailable unless the store stands where the settings say."""
        try:
            self._opened().head(MARK)
        except FileNotFoundError:
            absent = True
        except (BaseError, OSError) as error:
            raise self._away("look for", MARK, error) from error
        else:
            absent = False
        if absent:
            raise KeyUnavailable(
                f"There is no key store at {self.root}: {MARK} is not there. `darkroom up` makes "
                "one where there never was one; where there was one, put it back (setting `keys`).",
                {"keys": self.root},
            )

    def damaged(self, path: str, why: str) -> KeyUnavailable:
        """The error for an object that cannot be what the store wrote."""
        return KeyUnavailable(
            f"The key store's object {nameless(path)} at {self.root} is damaged: {why}. Put it back as it was.",
            {"keys": self.root, "object": nameless(path)},
        )

    def _opened(self) -> ObjectStore:
        if self._store is None:
            try:
                self._store = from_url(self.root, **self._options) if self._folder is None else LocalStore(self._folder)
            except (BaseError, OSError, ValueError) as error:
                raise self._away("open", "", error) from error
        return self._store

    def _settle(self, path: str) -> None:
        """Make a local object private and lasting: a power cut must not take a key and leave what it sealed."""
        if self._folder is None:
            return
        try:
            target = self._folder / path
            target.chmod(0o600)
            for place in (target, target.parent):
                descriptor = os.open(place, os.O_RDONLY)
                try:
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)
        except OSError as error:
            raise self._away("secure", path, error) from error

    def _away(self, verb: str, path: str, error: Exception) -> KeyUnavailable:
        said = nameless((str(error).strip().splitlines() or [type(error).__name__])[0])
        return KeyUnavailable(
            f"The key store at {self.root} is away: could not {verb} {nameless(path) or 'it'}: {said}. "
            "Check that the folder or bucket is there and that this process may read and write it (setting `keys`).",
            {"keys": self.root, "object": nameless(path)},
        )
