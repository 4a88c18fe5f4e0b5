"""Every way SSH fails, as a typed error with a stable code and a sentence a person can act on."""

from testum.ssh.endpoint import HostKey


class SSHError(Exception):
    """Base of the engine's errors. `message` names host and user, never a secret. `host_key` is the
    key that the host presented, where it is about that or came after it; `of_jump_host`: that host is one on the way."""

    code = "ssh"

    def __init__(self, message: str, *, host_key: HostKey | None = None, of_jump_host: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.host_key = host_key
        self.of_jump_host = of_jump_host


class HostNotFound(SSHError):
    """The name does not resolve."""

    code = "host_not_found"


class ConnectionRefused(SSHError):
    """Nothing listens on the port, or a firewall rejects."""

    code = "connection_refused"


class ConnectTimeout(SSHError):
    """No answer in time: the host is down, or a firewall drops."""

    code = "connect_timeout"


class Unreachable(SSHError):
    """The network has no way to the host, or the system refused for another reason."""

    code = "unreachable"


class OutOfDescriptors(SSHError):
    """testum has as many files and connections open as its process may."""

    code = "out_of_descriptors"


class HandshakeFailed(SSHError):
    """Something answered that does not speak SSH, or with which no algorithm is shared."""

    code = "handshake_failed"


class AuthFailed(SSHError):
    """The server refused the password."""

    code = "auth_failed"


class KeyRejected(SSHError):
    """The server refused the key."""

    code = "key_rejected"


class AuthIncomplete(SSHError):
    """The server accepted what it got, and asks for more (RFC 4252, section 5.1)."""

    code = "auth_incomplete"


class PassphraseRequired(SSHError):
    """The private key is encrypted, and no passphrase is stored."""

    code = "passphrase_required"


class PassphraseWrong(SSHError):
    """The passphrase does not open the private key."""

    code = "passphrase_wrong"


class KeyInvalid(SSHError):
    """The private key cannot be read."""

    code = "key_invalid"


class HostKeyChanged(SSHError):
    """The host shows another key than it is trusted by."""

    code = "host_key_changed"


class HostKeyUnknown(SSHError):
    """The policy is strict, and nobody has accepted this host's key."""

    code = "host_key_unknown"


class ConnectionLost(SSHError):
    """The connection broke after it was made; whether the command finished is not known."""

    code = "connection_lost"


class CommandTimeout(SSHError):
    """The command took longer than it may."""

    code = "timeout"


class IdleTimeout(SSHError):
    """The command printed nothing for longer than it may."""

    code = "idle_timeout"


class ChannelRefused(SSHError):
    """The server lets nothing be run: its session limit, or a restriction of the account."""

    code = "channel_refused"


class NotBegun(SSHError):
    """The account's shell ended without having begun the program. `status`: how, if not by a signal."""

    code = "not_begun"

    def __init__(self, message: str, status: int | None) -> None:
        super().__init__(message)
        self.status = status


class ProgramInvalid(SSHError):
    """The command or script cannot be sent as it is written."""

    code = "program_invalid"


class JumpLoop(SSHError):
    """The jump hosts lead back to themselves, or there are too many."""

    code = "jump_loop"


class Unsupported(SSHError):
    """What was asked cannot be done with this kind of host."""

    code = "unsupported"
