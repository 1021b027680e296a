"""Rules and dashboards ask for what there is, link runbooks that exist, and fire as their own tests say."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from mesh.telemetry import Kind
from tools.envoy_metrics import names as envoy_names
from tools.metrics import WATCHED, declared, prometheus_name
from tools.promtool import Missing, promtool

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "k8s" / "observability"
RULES: Any = [
    rule for group in yaml.safe_load((FOLDER / "rules.yaml").read_text())["groups"] for rule in group["rules"]
]
NAME = re.compile(r"\b([a-z]+(?:_[a-z0-9]+)+)(?=[{\[) ]|$)|\b(slo:[a-z0-9_:]+)")
FUNCTIONS = {"histogram_quantile"}


def known() -> set[str]:
    names: set[str] = set()
    for metric in declared().values():
        name = prometheus_name(metric)
        parts = ("_bucket", "_sum", "_count") if metric.kind is Kind.HISTOGRAM else ("",)
        names |= {f"{name}{part}" for part in parts}
    return names | envoy_names() | {rule["record"] for rule in RULES if "record" in rule}


def asked(expression: str) -> set[str]:
    # Labels stand in braces and in `by (…)`.
    bare = re.sub(r"\{[^}]*\}|by \([^)]*\)", " ", expression)
    return {one or other for one, other in NAME.findall(bare)} - FUNCTIONS


def expressions() -> list[str]:
    found = [rule["expr"] for rule in RULES]
    for board in FOLDER.glob("dashboards/*.json"):
        found += [
            target["expr"] for panel in json.loads(board.read_text())["panels"] for target in panel["targets"]
        ]
    for file in (ROOT / "k8s" / "scale").glob("*.yaml"):
        found += _queries([*yaml.safe_load_all(file.read_text())])
    return found


def _queries(read: Any) -> list[str]:
    """What KEDA asks Prometheus."""
    if isinstance(read, dict):
        own = [read["query"]] if isinstance(read.get("query"), str) else []
        return own + _queries(list(read.values()))
    return [one for below in read for one in _queries(below)] if isinstance(read, list) else []


def test_only_names_that_there_are_are_asked_for() -> None:
    names, found = known(), [(expression, asked(expression)) for expression in expressions()]
    assert all(wanted for _, wanted in found)
    assert not {name for _, wanted in found for name in wanted} - names
    # That this check can fail.
    assert asked('sum(rate(no_such_total{a="b"}[5m])) > 1') == {"no_such_total"}


# Where the repository itself says that runbooks are.
BASE = yaml.safe_load((FOLDER / "prometheus.yaml").read_text())["global"]["external_labels"]["runbooks"]


def test_every_alert_says_what_and_links_a_runbook() -> None:
    alerts = [rule for rule in RULES if "alert" in rule]
    assert len({rule["alert"] for rule in alerts}) == len(alerts) > 20
    for rule in alerts:
        assert rule["labels"]["severity"] in {"page", "ticket"}
        base, _, name = rule["annotations"]["runbook_url"].rpartition("/")
        assert base == "{{ $externalLabels.runbooks }}"
        runbook = ROOT / BASE / name
        assert runbook.is_file(), runbook
        assert f"`{rule['alert']}`" in runbook.read_text() or rule["labels"].get("slo"), rule["alert"]


def test_every_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not() -> None:
    fires: set[str] = set()
    is_silent: set[str] = set()
    for case in yaml.safe_load((FOLDER / "rules.test.yaml").read_text())["tests"]:
        asked = {name for one in case.get("input_series", ()) for name in [one["series"].partition("{")[0]]}
        for looked in case["alert_rule_test"]:
            if looked.get("exp_alerts"):
                fires.add(looked["alertname"])
            elif asked:
                is_silent.add(looked["alertname"])
    alerts = {rule["alert"] for rule in RULES if "alert" in rule}
    assert fires == is_silent == alerts


def test_what_is_silent_while_all_is_well_has_numbers_to_look_at() -> None:
    well = yaml.safe_load((FOLDER / "rules.test.yaml").read_text())["tests"][0]
    given = {one["series"].partition("{")[0] for one in well["input_series"]}
    recorded = {rule["record"]: asked(rule["expr"]) for rule in RULES if "record" in rule}
    for rule in (rule for rule in RULES if "alert" in rule):
        wanted = {below for name in asked(rule["expr"]) for below in recorded.get(name, {name})}
        assert wanted <= given, rule["alert"]


def test_all_that_must_be_seen_can_be_seen() -> None:
    there = declared()
    for what, names in WATCHED.items():
        assert not set(names) - set(there), what
        assert all(there[name].unit for name in names), what


def test_promtool_accepts_the_rules_and_their_cases() -> None:
    try:
        program = promtool()
    except Missing as problem:
        pytest.skip(str(problem))
    for arguments in (["check", "rules", "rules.yaml"], ["test", "rules", "rules.test.yaml"]):
        done = subprocess.run([program, *arguments], cwd=FOLDER, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
