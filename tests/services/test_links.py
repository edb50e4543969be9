"""What services answer has links that their users can follow: none to the cloud's inside."""

from __future__ import annotations

import json
import re

from tests.support.clouds import CloudUnderTest

PATHS = {
    "identity": ("", "/projects", "/users", "/services"),
    "compute": ("", "/images/detail", "/servers/detail", "/flavors/detail", "/os-services"),
    "image": ("", "/v2/images", "/v2/schemas/image"),
    "network": ("", "/v2.0/", "/v2.0/networks", "/v2.0/ports?limit=2", "/v2.0/extensions"),
    "block-storage": ("", "/volumes/detail?limit=1", "/types", "/os-services"),
    "placement": ("", "/resource_providers"),
    "orchestration": ("/stacks?limit=1", "/resource_types"),
    "load-balancer": ("", "/v2/lbaas/loadbalancers?limit=1", "/v2/lbaas/flavors"),
    "alarming": ("", "/v2/alarms?limit=1"),
    "metric": ("", "/v1/archive_policy", "/v1/resource/generic?limit=1"),
    "key-manager": ("", "/v1/secrets?limit=1"),
    "database": ("/datastores", "/instances?limit=1"),
    "object-store": ("?format=json",),
}


def test_no_answer_links_to_the_inside(cloud: CloudUnderTest) -> None:
    public = {
        row["Service Type"]: row["URL"]
        for row in json.loads(cloud.type("openstack endpoint list --interface public -f json"))
    }
    project = cloud.type("openstack token issue -f value -c project_id").strip()
    images = json.loads(cloud.type("openstack image list -f json"))
    asked = [
        f"{re.sub(r'[$%][(]project_id[)]s?', project, url).rstrip('/')}{path}"
        for kind, url in public.items()
        for path in PATHS.get(kind, ())
    ]
    compute = public["compute"].rstrip("/")
    asked += [f"{compute}/images/{image['ID']}" for image in images[:1]]
    assert len(asked) > 20 and images
    script = "t=$(openstack token issue -f value -c id)\n" + "".join(
        f"echo; echo '=== {url}'; curl -s -i --cacert $OS_CACERT -H \"X-Auth-Token: $t\" '{url}'\n"
        for url in asked
    )
    answers = cloud.type(script, timeout=200).split("\n=== ")[1:]
    assert len(answers) == len(asked)
    inside = re.compile(r"https?://(127\.|localhost)[^\"<> ]*")
    found = {answer.split()[0]: m[0] for answer in answers if (m := inside.search(answer))}
    # keystone's own lists of endpoints, which are the administrator's, tell both
    assert {url: link for url, link in found.items() if "/v3/endpoints" not in url} == {}
    said = {answer.split()[0]: re.findall(r"HTTP/1.1 (\d+)", answer)[-1:] for answer in answers}
    # what is sent elsewhere is sent by a link, too
    assert {url: code for url, code in said.items() if not code or code[0][0] not in "23"} == {}
