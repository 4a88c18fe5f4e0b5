"""The remote beginnings of programs whose text or settings come over stdin. POSIX sh (tried with dash,
bash, busybox ash, mksh, zsh).

`read` is a builtin and takes no byte too many from a pipe (POSIX, read); `cat` takes the rest. Secrets
are never arguments of a command that may not be a builtin: printf is none in mksh and OpenBSD's sh. The
pieces stand on one line where they can, so that the line numbers in a shell's messages are the script's.
"""

# A newline that survives $(...), which strips those at the end.
_NEWLINE = r'TESTUM_NL=$(printf "\n."); TESTUM_NL=${TESTUM_NL%.}; '

# Without its newline the line was cut, and nothing is run.
_READ_LINE = "IFS= read -r TESTUM_IN || exit 255; "

READ_SETTINGS = f'{_READ_LINE}{_NEWLINE}exec </dev/null; eval "$TESTUM_IN"; unset TESTUM_IN TESTUM_NL; '
"""Goes before a command: takes the settings line and leaves an empty stdin."""

_READ_PROGRAM = (
    _READ_LINE + "TESTUM_TEXT=$(cat); "
    'case $TESTUM_TEXT in *"@END@") ;; '
    '*) echo "testum: the script did not arrive whole; nothing of it was run." >&2; exit 255 ;; esac; '
    'TESTUM_TEXT=${TESTUM_TEXT%"@END@"}; ' + _NEWLINE
)

RUN_IN_SHELL = (
    _READ_PROGRAM + 'exec </dev/null; eval "$TESTUM_IN"; '
    # `exit` keeps the shell from replacing itself by the last command; it passes on the status.
    'eval "unset TESTUM_IN TESTUM_TEXT TESTUM_NL; @OPTIONS@ $TESTUM_TEXT"; exit'
)
"""For a shell's -c: the script is run by the shell itself. @END@ is its trailer, @OPTIONS@ a `set ...;`."""

RUN_ON_STDIN = (
    _READ_PROGRAM + 'eval "$TESTUM_IN"\n'
    "case $(command -v printf) in\n"
    # A here-document works anywhere, but some shells need room in /tmp for it.
    '*/*) "$@" <<TESTUM_EOF\n'
    "$TESTUM_TEXT\n"
    "TESTUM_EOF\n"
    ";;\n"
    '*) printf %s "$TESTUM_TEXT" | "$@" ;;\n'
    "esac; exit"
)
"""For sh -c: the script goes to the stdin of the interpreter in `$@`."""
