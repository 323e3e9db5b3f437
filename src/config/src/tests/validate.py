"""Checks configuration texts against the schema, with a validator and a TOML reader that
are not trimtab's.

The argument names a JSON file: {"schema": path, "texts": {name: TOML}}. Prints
{name: [errors]}.
"""

import json
import sys
import tomllib

import jsonschema

with open(sys.argv[1], encoding="utf-8") as file:
    task = json.load(file)
with open(task["schema"], encoding="utf-8") as file:
    schema = json.load(file)
jsonschema.Draft7Validator.check_schema(schema)
validator = jsonschema.Draft7Validator(schema)
verdicts = {}
for name, text in task["texts"].items():
    errors = validator.iter_errors(tomllib.loads(text))
    verdicts[name] = [f"{error.json_path}: {error.message}" for error in errors]
json.dump(verdicts, sys.stdout)
