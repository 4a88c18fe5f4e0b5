"""Words for what the rest of testum calls by codes, and for the sentences that services say in English."""

import re
from collections.abc import Mapping
from functools import cached_property

from testum.web.pages.languages import Language
from testum.web.pages.said import SAID


def N_(message: str) -> str:
    """Mark a message for translation where it stands."""
    return message


TASK: Mapping[str, tuple[str, str]] = {
    "pending": (N_("Not started"), "idle"),
    "running": (N_("Running"), "run"),
    "success": (N_("Succeeded"), "ok"),
    "failed": (N_("Failed"), "bad"),
    "cancelled": (N_("Cancelled"), "warn"),
    "lost": (N_("Lost"), "bad"),
}
"""Of tasks and jobs: the word and the colour."""

PLATFORM: Mapping[str, tuple[str, str]] = {
    "unknown": (N_("Not contacted yet"), "idle"),
    "ok": (N_("Reachable"), "ok"),
    "unreachable": (N_("Unreachable"), "bad"),
    "auth_failed": (N_("Login refused"), "warn"),
    "host_key_changed": (N_("Host key changed"), "bad"),
    "host_key_unknown": (N_("Host key not accepted"), "warn"),
}

JOB_TYPES: Mapping[str, str] = {
    "run_command": N_("Command"),
    "run_script": N_("Script"),
    "deploy": N_("Key deployment"),
    "gather_facts": N_("Facts"),
    "test_connection": N_("Connection test"),
}

ROLES: Mapping[str, str] = {
    "admin": N_("Administrator"),
    "operator": N_("Operator"),
    "viewer": N_("Viewer"),
}

OUTCOMES: Mapping[str, tuple[str, str]] = {
    "allowed": (N_("Allowed"), "ok"),
    "refused": (N_("Refused"), "bad"),
    "failed": (N_("Failed"), "warn"),
}

ERRORS: Mapping[str, str] = {
    "auth_failed": N_("The host refused the login"),
    "key_rejected": N_("The host refused the key"),
    "key_invalid": N_("The key cannot be used"),
    "passphrase_required": N_("The key needs its passphrase"),
    "passphrase_wrong": N_("The passphrase does not open the key"),
    "unreachable": N_("The host could not be reached"),
    "host_not_found": N_("The host's name is not known"),
    "connection_refused": N_("The host refused the connection"),
    "connect_timeout": N_("The host did not answer in time"),
    "handshake_failed": N_("The host does not speak SSH as testum does"),
    "channel_refused": N_("The host opened no session"),
    "program_invalid": N_("The host cannot run this"),
    "jump_loop": N_("The jump hosts form a loop"),
    "unsupported": N_("The host cannot do this"),
    "host_key_changed": N_("The host's key has changed"),
    "host_key_unknown": N_("Nobody has accepted the host's key"),
    "timeout": N_("It took too long"),
    "idle_timeout": N_("Nothing was printed for too long"),
    "exit_status": N_("The command reported a failure"),
    "signal": N_("The command was ended by a signal"),
    "output_limit": N_("It printed too much"),
    "connection_lost": N_("The connection broke"),
    "cancelled": N_("It was cancelled"),
    "worker_died": N_("The worker died; how far the command got is not known"),
    "worker_stopped": N_("The worker was stopped"),
    "taken_over": N_("Another worker took it over"),
    "credentials": N_("The platform's credentials cannot be used"),
    "platform_deleted": N_("The platform was deleted"),
    "storage_full": N_("The disk is full"),
    "internal": N_("testum failed"),
}

FACTS: Mapping[str, str] = {
    "hostname": N_("Host name"),
    "os": N_("Operating system"),
    "kernel": N_("Kernel"),
    "architecture": N_("Architecture"),
    "cpus": N_("Processors"),
    "memory": N_("Memory"),
    "disk": N_("Disk (/)"),
    "uptime": N_("Up for"),
    "load": N_("Load"),
}


OBJECTS: Mapping[str, str] = {
    "platform": N_("Platform"),
    "job": N_("Job"),
    "key": N_("Key"),
    "selection": N_("Selection"),
    "user": N_("Account"),
    "task": N_("Task"),
    "audit": N_("Audit log"),
    "settings": N_("Settings"),
}

WALLS: Mapping[str, str] = {
    "database": N_("Database"),
    "events": N_("Events"),
    "dispatch": N_("Dispatch of work"),
    "artifacts": N_("Store of output"),
}


class Words:
    """The words in one language."""

    def __init__(self, language: Language) -> None:
        self._language = language

    def _word(self, table: Mapping[str, str], code: str) -> str:
        return self._language.gettext(table[code]) if code in table else code

    def _state(self, table: Mapping[str, tuple[str, str]], code: str) -> tuple[str, str]:
        word, colour = table.get(code, (code, "idle"))
        return self._language.gettext(word), colour

    def task(self, status: str) -> tuple[str, str]:
        """A task's or job's status: the word and the colour."""
        return self._state(TASK, status)

    def platform(self, state: str) -> tuple[str, str]:
        """A platform's state: the word and the colour."""
        return self._state(PLATFORM, state)

    def outcome(self, outcome: str) -> tuple[str, str]:
        """An audit entry's outcome: the word and the colour."""
        return self._state(OUTCOMES, outcome)

    def job_type(self, job_type: str) -> str:
        """What kind of job it is."""
        return self._word(JOB_TYPES, job_type)

    def role(self, role: str) -> str:
        """What an account is."""
        return self._word(ROLES, role)

    def error(self, code: str) -> str:
        """Why a task failed."""
        return self._word(ERRORS, code)

    def object(self, object_type: str) -> str:
        """What an audit entry is about."""
        return self._word(OBJECTS, object_type)

    def wall(self, name: str) -> str:
        """What testum leans on."""
        return self._word(WALLS, name)

    def errors(self) -> dict[str, str]:
        """Why tasks fail, by code."""
        return {code: self._language.gettext(word) for code, word in ERRORS.items()}

    def fact(self, name: str) -> str:
        """What a fact is about."""
        return self._word(FACTS, name)

    def message(self, text: str) -> str:
        """A sentence that a service said, in this language where it is known (`pages/said.py`)."""
        translated = self._language.gettext(text) if text else ""
        if translated != text:
            return translated
        field, colon, rest = text.partition(": ")
        bare = rest if colon and re.fullmatch(r"[a-z_.]+", field) else text
        for candidate in (text, bare):
            for pattern, said in self._patterns:
                if found := pattern.fullmatch(candidate):
                    return self._language.gettext(said) % found.groupdict()
        return bare

    @cached_property
    def _patterns(self) -> list[tuple[re.Pattern[str], str]]:
        return [(_pattern(said), said) for said in SAID]


def _pattern(said: str) -> re.Pattern[str]:
    """What fits a sentence with places like `%(name)s`."""
    parts = re.split(r"%\((\w+)\)s", said)
    whole = "".join(
        f"(?P<{part}>.*?)" if place % 2 else re.escape(part.replace("%%", "%"))
        for place, part in enumerate(parts)
    )
    return re.compile(whole, re.DOTALL)
