"""Words for what the rest of testum calls by codes, and for the sentences that services say in English."""

import re
from collections.abc import Mapping
from functools import cached_property

from testum.core.feature import Registry
from testum.core.inventory import CSV_COLUMNS
from testum.translation import N_
from testum.web.pages.languages import Language
from testum.web.pages.said import ENDED, NOT_ALLOWED, SAID

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
    # No state, but what a filter calls several.
    "attention": (N_("Needs attention"), "warn"),
}

ACTIONS: Mapping[str, str] = {
    "auth.login": N_("Log in"),
    "auth.logout": N_("Log out"),
    "auth.refresh": N_("Renew a login"),
    "audit.refusals": N_("Further refusals, counted"),
    "auth.change_password": N_("Change the password"),
    "auth.change_username": N_("Change the user name"),
    "user.reset_password": N_("Reset a password"),
    "platform.create": N_("Add a platform"),
    "platform.update": N_("Change a platform"),
    "platform.delete": N_("Delete a platform"),
    "platform.import": N_("Import platforms"),
    "platform.tag": N_("Tag platforms"),
    "platform.test": N_("Test a connection"),
    "platform.read": N_("Read platforms"),
    "host_key.changed": N_("Another host key was shown"),
    "host_key.trust": N_("Trust a host key"),
    "key.create": N_("Add a key"),
    "key.delete": N_("Delete a key"),
    "key.read": N_("Read keys"),
    "job.rerun": N_("Run a job again"),
    "job.cancel": N_("Cancel a job"),
    "task.settle": N_("A lost task's end came to light"),
    "job.read": N_("Read jobs"),
    "job.follow": N_("Watch a job"),
    "task.read": N_("Read what a task printed"),
    "task.follow": N_("Watch a task"),
    "audit.read": N_("Read the audit log"),
    "overview.read": N_("Read the dashboard"),
    **dict.fromkeys(("settings.read", "settings.page"), N_("Read the configuration")),
    "worker.read": N_("Read the workers"),
}
"""What an audit entry's action is called."""

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

ERRORS: Mapping[str, tuple[str, str]] = {
    "auth_failed": (
        N_("The host refused the login"),
        N_("Check the user name and the password, and whether sshd there allows logging in by password."),
    ),
    "auth_incomplete": (
        N_("The host asks for more than one thing to log in"),
        N_(
            "Give the platform both a key and a password, if those are the steps; a code that changes each time cannot be given."
        ),
    ),
    "key_rejected": (
        N_("The host refused the key"),
        N_("Put the key's public half into authorized_keys of that account, or choose another key."),
    ),
    "key_invalid": (
        N_("The key cannot be used"),
        N_("Paste the whole private key again; it is damaged or of a type that is not supported."),
    ),
    "passphrase_required": (
        N_("The key needs its passphrase"),
        N_("Store the passphrase with the key."),
    ),
    "passphrase_wrong": (
        N_("The passphrase does not open the key"),
        N_("Type the passphrase of the key again."),
    ),
    "unreachable": (
        N_("The host could not be reached"),
        N_("Check the address, and the network between testum and the host."),
    ),
    "host_not_found": (
        N_("The host's name is not known"),
        N_("Check how the name is written, or give an IP address."),
    ),
    "connection_refused": (
        N_("The host refused the connection"),
        N_("See whether sshd runs there and listens on this port."),
    ),
    "connect_timeout": (
        N_("The host did not answer in time"),
        N_("See whether the host is up, the address is right and no firewall drops the connection."),
    ),
    "out_of_descriptors": (
        N_("testum may open no more connections"),
        N_(
            "Raise the limit of open files of testum's process (ulimit -n), or lower the number of hosts at once."
        ),
    ),
    "handshake_failed": (
        N_("The host does not speak SSH as testum does"),
        N_("Check the port: something else may listen there, or a server that is too old or too full."),
    ),
    "no_exit_status": (
        N_("The host did not say how it ended"),
        N_("See what was printed: some network devices send no exit status."),
    ),
    "channel_refused": (
        N_("The host opened no session"),
        N_("See whether the account may run commands and is below its limit of sessions."),
    ),
    "not_begun": (
        N_("The account's shell did not begin it"),
        N_(
            "See what was printed; the account's shell, its start-up files or a forced command may be the reason."
        ),
    ),
    "program_invalid": (
        N_("The host cannot run this"),
        N_("Correct the command or script; the details say what is wrong."),
    ),
    "jump_loop": (
        N_("The jump hosts form a loop"),
        N_("Change through which platform one of them is reached."),
    ),
    "unsupported": (
        N_("The host cannot do this"),
        N_("Run it on a host with a POSIX shell, or without environment variables."),
    ),
    "host_key_changed": (
        N_("The host's key has changed"),
        N_(
            "Find out why before you accept the new key: the host was reinstalled, or somebody sits in between."
        ),
    ),
    "host_key_unknown": (
        N_("Nobody has accepted the host's key"),
        N_("Compare the fingerprint with the one that the host itself shows, then enter the key as trusted."),
    ),
    "timeout": (
        N_("It took too long"),
        N_("Allow it more time, or find out on the host what it waits for."),
    ),
    "idle_timeout": (
        N_("Nothing was printed for too long"),
        N_("It may wait for an answer that nobody gives; allow more silence, or let it ask nothing."),
    ),
    "exit_status": (
        N_("The command reported a failure"),
        N_("See the end of its output for the reason."),
    ),
    "signal": (
        N_("The command was ended by a signal"),
        N_("See whether somebody stopped it, or the host was short of memory."),
    ),
    "output_limit": (
        N_("It printed too much"),
        N_("Let it print less or into a file on the host; what was printed so far is kept."),
    ),
    "connection_lost": (
        N_("The connection broke"),
        N_("See on the host how far it got before you run it again."),
    ),
    "deploy_failed": (
        N_("The host's authorized_keys could not be changed"),
        N_("See the details for what stands in the way there; the file is as it was."),
    ),
    "cancelled": (
        N_("It was cancelled"),
        N_("Run it again if it is still wanted."),
    ),
    "worker_died": (
        N_("The worker died; how far the command got is not known"),
        N_("See on the host how far it got before you run it again."),
    ),
    "not_sent": (
        N_("The worker died before the command reached the host"),
        N_("Run it again: nothing of it was run."),
    ),
    "worker_stopped": (
        N_("The worker was stopped"),
        N_("Run it again when the worker is back."),
    ),
    "taken_over": (
        N_("Another worker took it over"),
        N_("See on the host how far it got before you run it again."),
    ),
    "credentials": (
        N_("The platform's credentials cannot be used"),
        N_("Type them again in the platform's form; FERNET_KEY may have been changed."),
    ),
    "platform_deleted": (
        N_("The platform was deleted"),
        N_("Add it again, or choose other platforms."),
    ),
    "storage_full": (
        N_("The disk is full"),
        N_("Make room on testum's disk and run it again."),
    ),
    "storage_unavailable": (
        N_("The output could not be stored"),
        N_("Run it again when the database and the store answer; Settings show how they stand."),
    ),
    "changed_meanwhile": (
        N_("The platform was changed meanwhile"),
        N_("Look at the platform, and test it again."),
    ),
    "unknown_type": (
        N_("This kind of job is not there any more"),
        N_("The feature that it belongs to was removed from testum."),
    ),
    "no_answer": (
        N_("No worker answered"),
        N_("Start a worker that serves this network zone, or wait until it has less to do."),
    ),
    "internal": (
        N_("testum failed"),
        N_("Tell whoever runs testum: the server's log says more."),
    ),
}
"""Why tasks and tests of connections fail: what happened, and what to do next."""

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

_NOT_ALLOWED_IN_WORDS = N_("Your role (%(role)s) does not allow this. Ask an administrator for another role.")


class Words:
    """The words in one language."""

    def __init__(self, language: Language, features: Registry) -> None:
        self._language = language
        self._features = features
        self._actions = {**ACTIONS, **features.audit_actions}
        self._objects = {**OBJECTS, **features.audit_objects}
        self._errors = {**ERRORS, **features.task_errors}

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

    def action(self, action: str) -> str:
        """What somebody did or wanted to do, of an audit entry."""
        kind = (
            self._features.job_kinds.get(action.removeprefix("job.")) if action.startswith("job.") else None
        )
        if kind is not None:
            return self._language.gettext(kind.action)
        return self._word(self._actions, action)

    def outcome(self, outcome: str) -> tuple[str, str]:
        """An audit entry's outcome: the word and the colour."""
        return self._state(OUTCOMES, outcome)

    def job_type(self, job_type: str) -> str:
        """What kind of job it is."""
        kind = self._features.job_kinds.get(job_type)
        return self._language.gettext(kind.title) if kind is not None else job_type

    def role(self, role: str) -> str:
        """What an account is."""
        return self._word(ROLES, role)

    def error(self, code: str) -> str:
        """Why a task failed, in a few words."""
        return self._language.gettext(self._errors[code][0]) if code in self._errors else code

    def step(self, code: str) -> str:
        """What to do about it, as a sentence; empty for a code that is not known here."""
        return self._language.gettext(self._errors[code][1]) if code in self._errors else ""

    def object(self, object_type: str) -> str:
        """What an audit entry is about."""
        return self._word(self._objects, object_type)

    def wall(self, name: str) -> str:
        """What testum leans on."""
        return self._word(WALLS, name)

    def errors(self) -> dict[str, tuple[str, str]]:
        """Why tasks fail and what to do next, by code."""
        return {code: (self.error(code), self.step(code)) for code in self._errors}

    def endings(self) -> dict[str, str]:
        """What testum itself says of how a task ended, by how it is stored."""
        return {said: self._language.gettext(said) for said in ENDED}

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
                    return self._fill(said, found.groupdict())
        return bare

    def _fill(self, said: str, values: dict[str, str]) -> str:
        if said == NOT_ALLOWED:
            # Permissions have names for programs alone.
            said, values = _NOT_ALLOWED_IN_WORDS, {"role": self.role(values["role"])}
        return self._language.gettext(said) % values

    def row(self, text: str) -> str:
        """As `message`, with the column in front that it is about."""
        column, colon, _ = text.partition(": ")
        said = self.message(text)
        return f"{column}: {said}" if colon and column in CSV_COLUMNS else said

    @cached_property
    def _patterns(self) -> list[tuple[re.Pattern[str], str]]:
        return [(_pattern(said), said) for said in (*SAID, *self._features.messages)]


def _pattern(said: str) -> re.Pattern[str]:
    """What fits a sentence with places like `%(name)s`."""
    parts = re.split(r"%\((\w+)\)s", said)
    whole = "".join(
        f"(?P<{part}>.*?)" if place % 2 else re.escape(part.replace("%%", "%"))
        for place, part in enumerate(parts)
    )
    return re.compile(whole, re.DOTALL)
