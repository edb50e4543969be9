"""What swift's processes import, and the change to green threads: once, in a zygote.

The parent is a program of its own. Like the parent of upstream's own servers it
patches the standard library and then forks. The patch walks through all that is
imported, which in each process by itself would copy all of it; and it comes
before the libraries, as there: urllib3's TLS fails when it has seen the library
unpatched.
"""

from __future__ import annotations

# ruff: noqa: E402, F401
from swift.common import utils
from swift.common.concurrency import hubs

# This kind of hub holds no descriptor that a fork would share.
hubs.use_hub(utils.get_hub())
utils.monkey_patch()

import keystonemiddleware.auth_token
import swift.account.auditor
import swift.account.reaper
import swift.account.replicator
import swift.account.server
import swift.common.middleware.account_quotas
import swift.common.middleware.bulk
import swift.common.middleware.catch_errors
import swift.common.middleware.container_quotas
import swift.common.middleware.copy
import swift.common.middleware.crossdomain
import swift.common.middleware.dlo
import swift.common.middleware.formpost
import swift.common.middleware.gatekeeper
import swift.common.middleware.healthcheck
import swift.common.middleware.keystoneauth
import swift.common.middleware.listing_formats
import swift.common.middleware.memcache
import swift.common.middleware.proxy_logging
import swift.common.middleware.ratelimit
import swift.common.middleware.s3api.s3api
import swift.common.middleware.s3api.s3token
import swift.common.middleware.slo
import swift.common.middleware.staticweb
import swift.common.middleware.symlink
import swift.common.middleware.tempurl
import swift.common.middleware.versioned_writes
import swift.common.wsgi
import swift.container.auditor
import swift.container.replicator
import swift.container.server
import swift.container.updater
import swift.obj.auditor
import swift.obj.expirer
import swift.obj.replicator
import swift.obj.server
import swift.obj.updater
import swift.proxy.server

import onestack.components.swift.inside.quota
