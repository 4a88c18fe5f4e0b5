"""What services say in English, for translation: `%(name)s` stands for what is filled in.

tests/pages/test_words.py reads the services' sources and fails for a sentence that is missing here.
"""


def N_(message: str) -> str:
    """Mark a message for translation where it stands."""
    return message


SAID = (
    # Accounts
    N_("This login has ended. Log in again."),
    N_("Too many attempts to log in. Try again in %(wait)s seconds."),
    N_("was changed a moment ago."),
    N_("The user name or the password is wrong."),
    N_("needs 1 to %(most)s printable characters."),
    N_("must differ from the current one."),
    N_("is wrong."),
    N_("The access token is not valid or has expired."),
    N_("The user name %(name)s is taken."),
    N_("needs at least %(least)s characters."),
    N_("Change the password first: this account still has a weak or generated one."),
    N_("The role %(role)s does not allow %(permission)s."),
    N_("This request came from another site's page."),
    N_("Log in first: this needs an access token."),
    # Jobs
    N_("There is no such task."),
    N_("There is no such job."),
    N_("There is no such task or job."),
    N_("must be more than 0 and at most %(most)s seconds."),
    N_("The job is still under way. Wait for its end, or cancel it."),
    N_(
        "No platform is left to run on: none of this job's tasks is %(which)s, or their platforms are deleted."
    ),
    N_("is needed."),
    N_("a %(type)s job takes none."),
    N_("name at least one key, or leave it out for all."),
    N_("must be a program and its options, such as `python3 -u`."),
    N_("is over %(most)s bytes; run it as a script."),
    N_("is over %(most)s bytes."),
    N_("names are letters, digits and underscores, not first a digit."),
    N_("values must not contain a NUL character or half a surrogate pair."),
    N_("must not contain a NUL character or half a surrogate pair."),
    # Targets
    N_("No platform matches %(targets)s."),
    N_("There is no platform named %(names)s."),
    N_("targets: name platforms by platform_ids, names or tags, or say all."),
    N_("stands alone or with tags: platforms were named as well."),
    N_("no platform matches."),
    N_("no platform has this name."),
    N_("no selector is given."),
    # Keys
    N_("There is no such key."),
    N_("no key has the id %(id)s."),
    N_("there is no such key."),
    N_("belongs to another public key."),
    N_("goes with a private key, and none was given."),
    N_("A key named %(name)s is there already."),
    N_("Platforms log in with this key: %(names)s."),
    N_("This key is there already, as %(name)s."),
    N_("this is a private key; paste the public one (the .pub file)."),
    N_("this is too long for a public key."),
    N_("one key on one line, without control characters."),
    N_("not a public key: expected `ssh-ed25519 AAAA... comment`."),
    N_("unknown key type; expected ssh-ed25519, ssh-rsa, ecdsa-sha2-nistp* or sk-*@openssh.com."),
    N_("this is too long for a private key."),
    N_("not a private key: expected a block that begins with -----BEGIN ... PRIVATE KEY-----."),
    N_("the key's contents are of another type than its first word says."),
    N_("the key is damaged: its base64 part does not hold a key."),
    N_("a key of this type or encryption is not supported."),
    N_("the private key is damaged or incomplete."),
    N_("a key of this type cannot be used for SSH."),
    N_("does not open the private key."),
    # Platforms
    N_("There is no such platform."),
    N_("there is no such platform."),
    N_("no platform has the id %(id)s."),
    N_("The host has shown yet another key meanwhile. Look at it again."),
    N_("Choose at least one platform."),
    N_("There is no such action."),
    N_("There is no such choice."),
    N_("A platform named %(name)s is there already."),
    N_("Platforms are reached through this one: %(names)s."),
    N_("must be a host name or an IP address."),
    N_("must not contain * ? [ ] or a comma: they select platforms by name."),
    N_("at most %(most)s."),
    N_("a tag is up to 100 letters, digits and . : / = @ + - _, first a letter or digit."),
    N_("is needed to log in by password."),
    N_("is needed (or key_id) to log in by key."),
    N_("give either key_id or private_key."),
    N_("the private half of %(name)s is not stored."),
    N_("the jump hosts would form a loop."),
    N_("must be from 1 to %(most)s."),
    N_("must not contain a NUL character."),
    N_("is up to 63 of a-z, 0-9 and . _ -, with a letter or digit at both ends."),
    N_("takes at most %(most)s characters, no NUL."),
    # Any field
    N_("must not be empty."),
    N_("takes at most %(most)s characters."),
    N_("must not contain control or invisible characters."),
    N_("must be a number."),
    N_("must be a whole number."),
    N_("is not an id."),
    N_("is not valid."),
    # Lists
    N_("can be %(names)s, with - in front for descending."),
    N_("is not a cursor of this list; take it from the Link header."),
    # The installation
    N_("The database does not answer: %(reason)s"),
    N_("The database is too busy: no connection became free in time."),
    N_("The disk under DATA_DIR is full: nothing can be saved. Make room there and try again."),
    N_("The database is out of resources: %(reason)s"),
    N_("The database's disk is full: nothing can be saved. Make room there and try again."),
    N_("There is nothing at this address."),
    N_("testum failed; the server's log says more."),
)
