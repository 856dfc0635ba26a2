"""Evaluates one expression over the documents that `helm template` printed; exits 1 when it is false."""

import json
import re
import sys

import yaml

true, false = True, False
text = open(sys.argv[1], encoding="utf-8").read()
docs = [d for d in yaml.safe_load_all(text) if d]


def kinds(kind):
    return [d for d in docs if d["kind"] == kind]


def keep(doc):
    return doc["metadata"].get("annotations", {}).get("helm.sh/resource-policy") == "keep"


def hook(doc):
    return doc["metadata"].get("annotations", {}).get("helm.sh/hook", "")


def pod_of(doc):
    return doc["spec"]["template"]["spec"]


def operator():
    return pod_of(kinds("Deployment")[0])["containers"][0]


def args():
    return operator()["args"]


def labels():
    return kinds("Deployment")[0]["spec"]["template"]["metadata"]["labels"]


def job(name):
    return [d for d in kinds("Job") if d["metadata"]["name"].endswith(name)]


def pool():
    """The default pool, out of the arguments of the hook that applies it."""
    (found,) = job("default-pool")
    (manifest,) = [a for a in pod_of(found)["containers"][0]["args"] if a.startswith("--manifest=")]
    return json.loads(manifest.removeprefix("--manifest="))


def restricted(spec):
    """Pod security `restricted`, and a bit more."""
    pod, (container,) = spec["securityContext"], spec["containers"]
    own = container["securityContext"]
    return (
        pod["runAsNonRoot"] and pod["runAsUser"] == 65532
        and pod["seccompProfile"]["type"] == "RuntimeDefault"
        and own["allowPrivilegeEscalation"] is False and own["readOnlyRootFilesystem"]
        and own["capabilities"]["drop"] == ["ALL"]
        and not spec.get("hostNetwork") and not spec.get("volumes")
        and "memory" in container["resources"]["limits"]
    )


def rules():
    for doc in kinds("ClusterRole") + kinds("Role"):
        for rule in doc["rules"]:
            yield doc, rule


def secret_readers():
    """Roles over Secrets outside of the fleets: they may get, by name, and nobody is bound to them."""
    found = [d for d, rule in rules() if d["kind"] == "ClusterRole" and "secrets" in rule.get("resources", [])]
    bound = {d["roleRef"]["name"] for d in kinds("ClusterRoleBinding") + kinds("RoleBinding")}
    for doc in found:
        if doc["metadata"]["name"] in bound or [rule["verbs"] for rule in doc["rules"]] != [["get"]]:
            return None
    return [doc["metadata"]["name"] for doc in found]


def least():
    """No wildcard, no escalation, of the server's own paths the token issuer's alone, no Secret but the fleets' and tenants' own, no tenant role over statuses or pools."""
    if secret_readers() is None or len(secret_readers()) != 1:
        return False
    for doc, rule in rules():
        if "nonResourceURLs" in rule:
            if rule != {"nonResourceURLs": ["/.well-known/openid-configuration", "/openid/v1/jwks"], "verbs": ["get"]}:
                return False
            continue
        words = rule["apiGroups"] + rule["resources"] + rule["verbs"]
        if "*" in words or {"escalate", "bind", "impersonate"} & set(words):
            return False
        if doc["metadata"]["name"] in secret_readers():
            continue
        if "secrets" in rule.get("resources", []) and doc["metadata"].get("namespace") != "egressway-fleets":
            return False
        if "rbac.authorization.k8s.io/aggregate-to-edit" in doc["metadata"].get("labels", {}):
            if rule["resources"] != ["egresspolicies"]:
                return False
    return True


def protects_pools():
    """One policy over deletions of pools alone, bound to deny, and its message says how to go on."""
    (policy,), (binding,) = kinds("ValidatingAdmissionPolicy"), kinds("ValidatingAdmissionPolicyBinding")
    (rule,) = policy["spec"]["matchConstraints"]["resourceRules"]
    (validation,) = policy["spec"]["validations"]
    return (
        rule == {"apiGroups": ["egressway.dev"], "apiVersions": ["*"], "resources": ["egresspools"], "operations": ["DELETE"]}
        and binding["spec"] == {"policyName": policy["metadata"]["name"], "validationActions": ["Deny"]}
        and "oldObject.status.policies == 0" in validation["expression"]
        and all("egressway.dev/allow-deletion" in validation[key] for key in ("expression", "messageExpression"))
    )


def names_fit():
    """Every name is a label as Services have it (RFC 1035), 63 characters with what controllers add; roles fit their bindings."""
    ours = [d for d in docs if d["kind"] != "CustomResourceDefinition"]
    good = all(re.fullmatch("[a-z]([a-z0-9-]{0,55}[a-z0-9])?", d["metadata"]["name"]) for d in ours)
    roles = {d["metadata"]["name"] for d in kinds("Role") + kinds("ClusterRole")}
    accounts = {d["metadata"]["name"] for d in kinds("ServiceAccount")}
    bindings = kinds("RoleBinding") + kinds("ClusterRoleBinding")
    return (
        good
        and {d["roleRef"]["name"] for d in bindings} <= roles
        and {s["name"] for d in bindings for s in d["subjects"]} == accounts
        and {pod_of(d)["serviceAccountName"] for d in kinds("Deployment") + kinds("Job")} == accounts
    )


def api_server_ranges():
    """Where the operator and the hooks may reach the API server, policy by policy; None: anywhere."""
    rules = [r for p in kinds("NetworkPolicy") for r in p["spec"].get("egress", []) if {"protocol": "TCP", "port": 6443} in r["ports"]]
    return [[p["ipBlock"]["cidr"] for p in r["to"]] if "to" in r else None for r in rules]


def basics(crds, pool, policy, cleanup, monitors):
    operator_spec = pod_of(kinds("Deployment")[0])
    bound = {(d["metadata"].get("namespace"), d["roleRef"]["name"]) for d in kinds("RoleBinding")}
    names = {(d["kind"], d["metadata"].get("namespace"), d["metadata"]["name"]) for d in docs}
    checks = {
        "crds": len(kinds("CustomResourceDefinition")) == (2 if crds else 0),
        "pool": len(job("default-pool")) == int(pool),
        "pool is never a plain object": not kinds("EgressPool"),
        "policy": len(kinds("NetworkPolicy")) == (int(policy) * (3 if monitors else 2)),
        "cleanup": len(job("cleanup")) == int(cleanup),
        "monitors": len(kinds("ServiceMonitor")) == len(kinds("PodMonitor")) == int(monitors),
        "one operator": len(kinds("Deployment")) == 1
        and kinds("Deployment")[0]["spec"]["replicas"] == 1
        and kinds("Deployment")[0]["spec"]["strategy"] == {"type": "Recreate"},
        "restricted": all(restricted(s) for s in [operator_spec] + [pod_of(d) for d in kinds("Job")]),
        "fleets restricted": kinds("Namespace")[0]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"]
        == "restricted",
        # An account mounts no token by itself; the operator and its hooks ask for theirs, and nothing else runs here.
        "tokens are asked for": all(d["automountServiceAccountToken"] is False for d in kinds("ServiceAccount"))
        and {d["kind"] for d in docs if "template" in d.get("spec", {})} <= {"Deployment", "Job"}
        and not kinds("Secret"),
        "probes": operator()["livenessProbe"]["httpGet"]["path"] == "/livez"
        and operator()["readinessProbe"]["httpGet"]["path"] == "/readyz",
        "selector is in the labels": kinds("Deployment")[0]["spec"]["selector"]["matchLabels"].items()
        <= labels().items(),
        "hooks are hooks": all(hook(d) for d in kinds("Job")),
        "every pod may ask the API server": not policy or all(
            any(
                p["spec"]["podSelector"]["matchLabels"].items() <= d["spec"]["template"]["metadata"]["labels"].items()
                and {"protocol": "TCP", "port": 6443} in p["spec"]["egress"][0]["ports"]
                for p in kinds("NetworkPolicy")
                if "Egress" in p["spec"]["policyTypes"]
            )
            for d in kinds("Deployment") + kinds("Job")
        ),
        "nobody sends everywhere": not policy or all(
            r.get("to") for p in kinds("NetworkPolicy") for r in p["spec"].get("egress", [])
        ),
        "hooks are no operator": all(
            d["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/name"] == "egressway-hook"
            for d in kinds("Job")
        ),
        "least privilege": least(),
        "roles are bound": {(d["metadata"]["namespace"], d["metadata"]["name"]) for d in kinds("Role")} == bound,
        "no name twice": len(names) == len(docs),
        "no latest": ":latest" not in text,
        "namespaces are written": all(
            d["metadata"].get("namespace")
            for d in docs
            if d["kind"]
            not in (
                "ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition", "Namespace",
                "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding",
            )
        ),
    }
    for name, held in checks.items():
        if not held:
            print(f"  does not hold: {name}", file=sys.stderr)
    return all(checks.values())


sys.exit(0 if eval(sys.argv[2]) else 1)  # the expressions are written in render.sh
