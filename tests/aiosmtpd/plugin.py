"""Loaded into the run of aiosmtpd's suite before its modules: puts our classes in place.

The suite is unpacked below MTA_AIOSMTPD_SUITE; the package is the installed one.
"""

from __future__ import annotations

import importlib
import os
import sys
import types
from pathlib import Path

import aiosmtpd
import aiosmtpd.controller
import aiosmtpd.handlers
import aiosmtpd.smtp

from mta import smtpd


def resource_filename(package: str, name: str) -> str:
    """The one function of pkg_resources that the suite uses; setuptools has dropped the module."""
    return str(Path(str(importlib.import_module(package).__file__)).parent / name)


pkg_resources = types.ModuleType("pkg_resources")
pkg_resources.resource_filename = resource_filename  # type: ignore[attr-defined]
sys.modules["pkg_resources"] = pkg_resources

aiosmtpd.__path__.append(str(Path(os.environ["MTA_AIOSMTPD_SUITE"], "aiosmtpd")))
aiosmtpd.smtp.SMTP = smtpd.SMTP  # type: ignore[assignment,misc]
aiosmtpd.controller.SMTP = smtpd.SMTP  # type: ignore[assignment,misc]
aiosmtpd.handlers.SMTPServer = smtpd.SMTP  # type: ignore[assignment,misc]
for name in smtpd.__all__:
    if name != "SMTP":
        setattr(aiosmtpd.controller, name, getattr(smtpd, name))
