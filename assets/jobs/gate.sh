# shellcheck shell=bash
# The gate in front of a service: the one way to it, by the Unix socket `web` in the runtime folder. It
# runs beside the app, in its network namespace, with Python 3.6 or newer.

# For kind web, the gate lets a browser in that has the session's token: /.vizdash/open takes it from the
# fragment of its address, which no server and no log sees, and exchanges it for a cookie of this session.
# Apps need no password of their own. Each request has its own connection to the app, so that each is
# checked. Requests that a page of another origin makes are refused: another port of 127.0.0.1 counts as
# the same site, and gets the same cookies (RFC 6265, 8.5). For kind pvserver,
# it relays whole connections of vizdash's own end of the tunnel, which has the token too.
service_gate() {
  cat <<'PY'
import hmac, os, re, secrets, socket, sys, threading, time

runtime, kind, listen, port, session, path = sys.argv[1:]
path = path.replace("{id}", session)
COOKIE = "vizdash-" + session
HEAD_LIMIT = 64 * 1024
VIEWER_S = 60  # without a request or a WebSocket for so long, a browser is no viewer
lock = threading.Lock()
visitors = {}  # cookie value: [time of the last request, open WebSockets]
relays = [0]
refused = set()  # releases of ParaView

PAGE = """<!doctype html><meta charset="utf-8"><meta name="referrer" content="no-referrer">
<title>vizdash</title><p id="p">Opening the session \u2026</p>
<script>
const token = new URLSearchParams(location.hash.slice(1)).get("token") || "";
history.replaceState(null, "", location.pathname);
fetch("/.vizdash/enter", {method: "POST", headers: {"X-Vizdash-Token": token}})
  .then(async answer => {
    if (!answer.ok) throw answer.status;
    location.replace(await answer.text());
  })
  .catch(() => { document.getElementById("p").textContent = REFUSED; });
</script>
"""
REFUSED = "This address is not valid: open the session again in vizdash."


def dial():
    if listen == "port":
        return socket.create_connection(("127.0.0.1", int(port)), 30)
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(30)
    try:
        s.connect(runtime + "/service")
    except OSError:
        s.close()
        raise
    return s


def answers():
    """Whether the app answers HTTP."""
    request = "GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n" % path.split("#")[0]
    with dial() as s:
        s.sendall(request.encode("ascii", "replace"))
        said = b""
        while b"\r\n" not in said:
            part = s.recv(256)
            if not part:
                break
            said += part
    found = re.match(br"HTTP/1\.[01] ([1-4]\d\d)\b", said)
    if not found:
        raise OSError("the service answered %r" % said[:40])


def accepts():
    """Whether pvserver says that it takes a client: connecting to it would count as one."""
    with open(runtime + "/app.log", "rb") as file:
        if b"Accepting connection(s)" not in file.read():
            raise OSError("pvserver accepts no connection yet")


def wait_until_up():
    last = ""
    while True:
        try:
            return accepts() if kind == "pvserver" else answers()
        except OSError as e:
            if str(e) != last:
                last = str(e)
                print(last, flush=True)
            time.sleep(0.1)


# ---------------------------------------------------------------- HTTP


def read_head(client):
    data = b""
    while b"\r\n\r\n" not in data:
        part = client.recv(65536)
        if not part or len(data) > HEAD_LIMIT:
            return None
        data += part
    head, _, rest = data.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    words = lines[0].split(" ")
    headers = [line.partition(":")[::2] for line in lines[1:]]
    if len(words) != 3 or any(not name or name != name.strip() for name, _ in headers):
        return None
    return words, [(name, value.strip()) for name, value in headers], rest


def find(headers, wanted):
    return ", ".join(value for name, value in headers if name.lower() == wanted)


def answer(client, status, body, *more):
    data = body.encode()
    head = ["HTTP/1.1 " + status, "Content-Type: text/html; charset=utf-8",
            "Content-Length: %d" % len(data), "Cache-Control: no-store",
            "Referrer-Policy: no-referrer", "X-Frame-Options: DENY",
            "X-Content-Type-Options: nosniff", "Connection: close"]
    client.sendall("\r\n".join(head + list(more) + ["", ""]).encode("latin-1") + data)


def from_here(verb, headers):
    """Whether a page of this very origin, or the person, makes the request."""
    origin, host = find(headers, "origin"), find(headers, "host")
    if origin and origin.partition("://")[2] != host:
        return False
    if find(headers, "sec-fetch-site") not in ("cross-site", "same-site"):
        return True
    opens = find(headers, "sec-fetch-mode"), find(headers, "sec-fetch-dest")
    return verb == "GET" and opens == ("navigate", "document")


def visitor_of(headers):
    for pair in find(headers, "cookie").replace(",", ";").split(";"):
        name, _, value = pair.strip().partition("=")
        if name == COOKIE and value in visitors:
            return value
    return None


def enter(client, headers):
    if not hmac.compare_digest(find(headers, "x-vizdash-token").encode(), token):
        time.sleep(0.5)
        return answer(client, "403 Forbidden", REFUSED)
    value = secrets.token_urlsafe(24)
    with lock:
        visitors[value] = [time.monotonic(), 0]
    cookie = "Set-Cookie: %s=%s; Path=/; HttpOnly; SameSite=Strict" % (COOKIE, value)
    answer(client, "200 OK", path, cookie)


def serve_web(client):
    client.settimeout(60)
    request = read_head(client)
    if request is None:
        return answer(client, "400 Bad Request", "")
    (verb, target, version), headers, rest = request
    here = from_here(verb, headers)
    if target.partition("?")[0] in ("/.vizdash/open", "/.vizdash/enter"):
        if verb == "GET" and target == "/.vizdash/open":
            return answer(client, "200 OK", PAGE.replace("REFUSED", '"%s"' % REFUSED))
        if verb == "POST" and here:
            return enter(client, headers)
        return answer(client, "403 Forbidden", REFUSED)
    visitor = visitor_of(headers)
    if visitor is None or not here:
        return answer(client, "403 Forbidden", "<!doctype html><title>vizdash</title><p>" + REFUSED)
    upgrade = "upgrade" in find(headers, "connection").lower()
    with lock:
        visitors[visitor][0] = time.monotonic()
        visitors[visitor][1] += upgrade
    try:
        head = [" ".join((verb, target, version))]
        for name, value in headers:
            if name.lower() == "cookie":
                pairs = (pair.strip() for pair in value.split(";"))
                value = "; ".join(p for p in pairs if not p.startswith(COOKIE + "="))
                if not value:
                    continue
            if name.lower() not in ("connection", "keep-alive", "proxy-connection"):
                head.append("%s: %s" % (name, value))
        head.append("Connection: " + ("Upgrade" if upgrade else "close"))
        try:
            service = dial()
        except OSError:
            return answer(client, "502 Bad Gateway", "The service does not answer.")
        with service:
            service.sendall(("\r\n".join(head) + "\r\n\r\n").encode("latin-1") + rest)
            relay(client, service)
    finally:
        with lock:
            visitors[visitor][0] = time.monotonic()
            visitors[visitor][1] -= upgrade


def release(text):
    found = re.search(r"(\d+\.\d+)", text)
    return found.group(1) if found else ""


def refuse_other_release(begin):
    """Whether the beginning of a connection names another release of ParaView: pvserver and the client
    would refuse each other, and neither would say why (vtkSMSessionServer, "handshake").
    """
    found = re.search(br"paraview[-.](\d+\.\d+)[^\d]", begin)
    theirs = found.group(1).decode() if found else ""
    if not theirs or not server_version or theirs == release(server_version):
        return False
    words = "a client of ParaView %s was refused: the server is %s" % (theirs, server_version)
    print(words, flush=True)
    if theirs not in refused:
        refused.add(theirs)
        with open(runtime + "/events", "w") as file:
            file.write("without %s\n" % words)
    return True


def serve_raw(client):
    """Relay a connection that begins with a request (CONNECT, as to a proxy) and the token: pvserver
    speaks first, and what only checks whether the session answers must not reach it.
    """
    client.settimeout(60)
    request = read_head(client)
    if request is None:
        return answer(client, "400 Bad Request", "")
    (verb, _, _), headers, rest = request
    if verb != "CONNECT":
        return answer(client, "404 Not Found", "This is a pvserver.")
    if not hmac.compare_digest(find(headers, "x-vizdash-token").encode(), token):
        return answer(client, "403 Forbidden", REFUSED)
    with lock:
        relays[0] += 1
    try:
        with dial() as service:
            service.sendall(rest)
            relay(client, service)
    finally:
        with lock:
            relays[0] -= 1


# ---------------------------------------------------------------- the relay


def relay(client, service):
    client.settimeout(None)
    service.settimeout(None)
    up = threading.Thread(target=pump, args=(client, service, False), daemon=True)
    up.start()
    pump(service, client, True)
    up.join()


def pump(source, sink, last):
    """Copy to the end of input. When the service has ended its answer, all is said."""
    begin = b"" if kind == "pvserver" and not last else None
    try:
        while True:
            data = source.recv(65536)
            if not data:
                break
            if begin is not None:
                begin += data
                if refuse_other_release(begin):
                    last = True
                    break
                begin = begin if len(begin) < 4096 else None
            sink.sendall(data)
    except OSError:
        last = True
    for end in (source, sink) if last else ():
        close_both(end)
    if not last:
        try:
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass


def close_both(end):
    try:
        end.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass


def serve(client):
    try:
        with client:
            (serve_raw if kind == "pvserver" else serve_web)(client)
    except OSError:
        pass


def viewers():
    now = time.monotonic()
    with lock:
        return relays[0] + sum(v[1] > 0 or now - v[0] < VIEWER_S for v in visitors.values())


def report_viewers():
    """Tell the job script, less often the more it changes: each report costs slurmctld a call."""
    reported, before, reports, due = None, 0, 0, 0.0
    while True:
        now = viewers()
        if now == before and now != reported and time.monotonic() >= due:
            with open(runtime + "/events", "w") as file:
                file.write("viewers %d\n" % now)
            reported, reports = now, reports + 1
            due = time.monotonic() + (reports * 10 if reports < 30 else 300)
        before = now
        time.sleep(2)


os.umask(0o077)
with open(runtime + "/token", "rb") as file:
    token = file.read().strip()
server_version = ""
if os.path.exists(runtime + "/version"):
    with open(runtime + "/version") as file:
        server_version = file.read().strip()
wait_until_up()
listener = socket.socket(socket.AF_UNIX)
listener.bind(runtime + "/web")
listener.listen(128)
open(runtime + "/answered", "w").close()
threading.Thread(target=report_viewers, daemon=True).start()
while True:
    connection, _ = listener.accept()
    threading.Thread(target=serve, args=(connection,), daemon=True).start()
PY
}
