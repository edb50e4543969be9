"""What clients get while the database is away, asked of upstream's own libraries."""

from __future__ import annotations

from tests.support.needs import needs_services
from tests.support.trials import tried_text

TRIAL = """
import webob, webob.dec
from oslo_config import cfg
from oslo_db import exception
from oslo_db.sqlalchemy import enginefacade
from oslo_messaging.rpc import client
from sqlalchemy import text
from onestack.runtime import unavailable

cfg.CONF([], project="trial", default_config_files=[])
facade = enginefacade.transaction_context()
facade.configure(
    connection="mysql+pymysql://a:b@localhost/c?unix_socket=/nonexistent/sock", max_retries=0)

@enginefacade.transaction_context_provider
class Context:
    pass

def ask():
    with facade.reader.using(Context()) as session:
        session.execute(text("SELECT 1"))

@webob.dec.wsgify
def caught(request):
    "As upstream's frameworks do it."
    try:
        match request.path:
            case "/lost": ask()
            case "/conductor": raise client.RemoteError("DBConnectionError", "gone", "")
            case "/other": raise client.RemoteError("ValueError", "odd", "")
            case "/retried":
                try: ask()
                except exception.DBConnectionError: pass
                return "well"
            case "/busy":
                try: ask()
                except exception.DBConnectionError: pass
                return webob.Response("mine", status=409)
            case "/defect": 1 / 0
    except Exception as error:
        return webob.Response(f"unexpected {type(error).__name__}", status=500)

def uncaught(environ, start_response):
    ask()

served = unavailable.answering(unavailable.answering(caught))

def get(path, app=served):
    answer = webob.Request.blank(path).get_response(app)
    return answer.status_int, answer.headers.get("Retry-After"), answer.text

bare = unavailable.answering(uncaught)
for path, app in (("/lost", served), ("/conductor", served), ("/", bare)):
    status, again, said = get(path, app)
    assert (status, again) == (503, "5"), (path, status)
    assert "database does not answer" in said
for path, app in (("/lost", served), ("/", bare)):
    status, headers, body = webob.Request.blank(path, method="HEAD").call_application(app)
    assert status.startswith("503") and dict(headers)["Retry-After"] == "5"
    assert b"".join(body) == b"", path
assert get("/other") == (500, None, "unexpected RemoteError")
assert get("/defect") == (500, None, "unexpected ZeroDivisionError")
assert get("/retried") == (200, None, "well")
assert get("/busy") == (409, None, "mine")
"""


@needs_services
def test_an_unexpected_error_of_a_lost_database_is_said_to_pass() -> None:
    tried_text(TRIAL)
