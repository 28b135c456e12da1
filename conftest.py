"""Imports the package ``openset``, or pytest would take the folder of that name for it: the folder holds tests too."""

from importlib import import_module

import_module("openset")
