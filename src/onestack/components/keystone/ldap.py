"""Users of an LDAP directory, in a domain of their own.

packstack put LDAP in the place of keystone's own users; the services' users
had to be made in the directory. Upstream's advice today is a domain for the
directory beside the default one, where the services' users and the
administrator stay.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from onestack.answers.values import Answers
from onestack.model.ini import Ini, Value
from onestack.model.key import Key, Kind
from onestack.model.secret import Secret

PREFIX = "CONFIG_KEYSTONE_LDAP_"
BACKEND = "CONFIG_KEYSTONE_IDENTITY_BACKEND"
DOMAIN = "CONFIG_ONESTACK_LDAP_DOMAIN"
PACKAGES = ("python3-ldap", "python3-ldappool")

_TEXTS = (
    ("URL", "url", "Address of the directory, such as ldaps://ldap.example.com."),
    ("USER_DN", "user", "Account to look with, where anonymous ones may not."),
    ("SUFFIX", "suffix", "Base DN, such as dc=example,dc=com."),
    (
        "USER_SUBTREE",
        "user_tree_dn",
        "Branch that holds users, such as ou=Users,dc=example,dc=com.",
    ),
    ("USER_FILTER", "user_filter", "Extra filter on users."),
    ("USER_OBJECTCLASS", "user_objectclass", "Object class of users (inetOrgPerson)."),
    ("USER_ID_ATTRIBUTE", "user_id_attribute", "Attribute that is a user's id (cn)."),
    ("USER_NAME_ATTRIBUTE", "user_name_attribute", "Attribute that is a user's name (sn)."),
    ("USER_MAIL_ATTRIBUTE", "user_mail_attribute", "Attribute that is a user's e-mail address."),
    (
        "USER_ENABLED_ATTRIBUTE",
        "user_enabled_attribute",
        "Attribute saying whether one may log in.",
    ),
    ("USER_ENABLED_DEFAULT", "user_enabled_default", "Value of that attribute for one who may."),
    (
        "USER_DEFAULT_PROJECT_ID_ATTRIBUTE",
        "user_default_project_id_attribute",
        "Attribute that is the id of a user's default project.",
    ),
    ("USER_PASS_ATTRIBUTE", "user_pass_attribute", "Attribute that holds the password."),
    (
        "USER_ENABLED_EMULATION_DN",
        "user_enabled_emulation_dn",
        "Group whose members may log in, in the place of an attribute.",
    ),
    ("GROUP_SUBTREE", "group_tree_dn", "Branch that holds groups."),
    ("GROUP_FILTER", "group_filter", "Extra filter on groups."),
    ("GROUP_OBJECTCLASS", "group_objectclass", "Object class of groups (groupOfNames)."),
    ("GROUP_ID_ATTRIBUTE", "group_id_attribute", "Attribute that is a group's id (cn)."),
    ("GROUP_NAME_ATTRIBUTE", "group_name_attribute", "Attribute that is a group's name (ou)."),
    ("GROUP_MEMBER_ATTRIBUTE", "group_member_attribute", "Attribute that lists members."),
    ("GROUP_DESC_ATTRIBUTE", "group_desc_attribute", "Attribute that is a group's description."),
    ("TLS_CACERTDIR", "tls_cacertdir", "Directory of the CA certificates to trust."),
    ("TLS_CACERTFILE", "tls_cacertfile", "File of the CA certificates to trust."),
)
_LISTS = (
    ("USER_ATTRIBUTE_IGNORE", "user_attribute_ignore", "Attributes of users to leave out."),
    (
        "USER_ADDITIONAL_ATTRIBUTE_MAPPING",
        "user_additional_attribute_mapping",
        "More attributes of users, as LDAP_ATTRIBUTE:API_ATTRIBUTE,...",
    ),
    ("GROUP_ATTRIBUTE_IGNORE", "group_attribute_ignore", "Attributes of groups to leave out."),
    (
        "GROUP_ADDITIONAL_ATTRIBUTE_MAPPING",
        "group_additional_attribute_mapping",
        "More attributes of groups, as LDAP_ATTRIBUTE:API_ATTRIBUTE,...",
    ),
)


def _key(name: str, default: str, text: str, kind: Kind, choices: tuple[str, ...] = ()) -> Key:
    check = _wrong_url if name == "URL" else None
    return Key(f"{PREFIX}{name}", default, text, kind, choices, check=check)


def _wrong_url(text: str) -> str | None:
    wrong = [u for u in text.split(",") if not re.match(r"ldaps?://\S|ldapi://", u.strip())]
    return f"{wrong[0]!r} is no address such as ldap://HOST" if wrong else None


SECRET = Secret("keystone_ldap", f"{PREFIX}USER_PASSWORD", password=False, made=False)

KEYS: tuple[Key, ...] = (
    Key(
        BACKEND,
        "sql",
        "Where users are: sql, keystone's own database; ldap, also those of an LDAP directory, "
        "in the domain " + DOMAIN + ". The services' users and the administrator stay in sql.",
        Kind.CHOICE,
        ("sql", "ldap"),
    ),
    Key(
        DOMAIN,
        "ldap",
        "Domain in which the directory's users are.",
        check=lambda text: (
            None
            if re.fullmatch(r"[A-Za-z0-9_-]{1,64}", text) and text.lower() != "default"
            else "use letters, digits, - and _, and not Default: the services' users are there"
        ),
    ),
    *(_key(name, "", text, Kind.TEXT) for name, _, text in _TEXTS),
    *(_key(name, "", text, Kind.LIST) for name, _, text in _LISTS),
    _key("USER_PASSWORD", "", "Password of the account to look with.", Kind.SECRET),
    _key(
        "QUERY_SCOPE",
        "one",
        "How deep to look: one level, or all below.",
        Kind.CHOICE,
        ("one", "sub"),
    ),
    _key("PAGE_SIZE", "-1", "Results in one answer; -1: all.", Kind.NUMBER),
    _key(
        "USER_ENABLED_MASK",
        "-1",
        "Bit to look at where that attribute is a number; -1: none.",
        Kind.NUMBER,
    ),
    _key("USER_ENABLED_INVERT", "n", "The attribute says who may not log in.", Kind.FLAG),
    _key("USE_TLS", "n", "Begin TLS on an ldap:// connection.", Kind.FLAG),
    _key(
        "TLS_REQ_CERT",
        "demand",
        "How strictly the directory's certificate is looked at.",
        Kind.CHOICE,
        ("demand", "allow", "never"),
    ),
)


def wanted(answers: Answers) -> bool:
    return bool(answers[BACKEND] == "ldap")


def validate(answers: Answers) -> Iterable[str]:
    if not wanted(answers):
        return
    for name, why in (("URL", "the directory's address"), ("SUFFIX", "the base DN")):
        if not answers[f"{PREFIX}{name}"]:
            yield f"{BACKEND}=ldap needs {PREFIX}{name}, {why}"
    url = str(answers[f"{PREFIX}URL"])
    if answers[f"{PREFIX}USE_TLS"] and "ldaps://" in url:
        yield f"{PREFIX}USE_TLS=y begins TLS on an open connection, but {PREFIX}URL is ldaps"
    if bool(answers[f"{PREFIX}USER_DN"]) != bool(answers[f"{PREFIX}USER_PASSWORD"]):
        yield f"{PREFIX}USER_DN and {PREFIX}USER_PASSWORD are of use only together"
    for name, is_there in (("TLS_CACERTFILE", Path.is_file), ("TLS_CACERTDIR", Path.is_dir)):
        place = str(answers[f"{PREFIX}{name}"])
        if place and not is_there(Path(place)):
            yield f"{PREFIX}{name}={place} is not there"


def sections(answers: Answers, password: str) -> Ini:
    """The domain's own configuration: only what was given, upstream's defaults for the rest."""
    options: dict[str, Value] = {}
    for name, option, _ in (*_TEXTS, *_LISTS):
        if value := answers[f"{PREFIX}{name}"]:
            options[option] = value
    if "user_enabled_emulation_dn" in options:
        options["user_enabled_emulation"] = True
    if password:
        options["password"] = password
    options["query_scope"] = str(answers[f"{PREFIX}QUERY_SCOPE"])
    for name, option in (("PAGE_SIZE", "page_size"), ("USER_ENABLED_MASK", "user_enabled_mask")):
        options[option] = max(0, int(answers[f"{PREFIX}{name}"]))
    options["user_enabled_invert"] = bool(answers[f"{PREFIX}USER_ENABLED_INVERT"])
    options["use_tls"] = bool(answers[f"{PREFIX}USE_TLS"])
    options["tls_req_cert"] = str(answers[f"{PREFIX}TLS_REQ_CERT"])
    return {"identity": {"driver": "ldap"}, "ldap": options}
