"""A stand-in for the Hugging Face Hub on this machine: what of its HTTP interface it takes to push and load a model.

Written after what `huggingface_hub` sends and reads. Xet storage is not offered: clients need HF_HUB_DISABLE_XET=1.
"""

import base64
import hashlib
import json
import re
import threading
from collections import defaultdict
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

# What the Hub stores outside of git, by the rules of a new repository's .gitattributes.
LARGE = re.compile(r".*\.(safetensors|png)")


@dataclass(frozen=True)
class Blob:
    """A file's bytes; `large` ones went through LFS."""

    content: bytes
    large: bool

    @property
    def sha256(self):
        return hashlib.sha256(self.content).hexdigest()

    @property
    def git_oid(self):
        return hashlib.sha1(b"blob %d\0" % len(self.content) + self.content).hexdigest()


@dataclass
class Repository:
    """`commits` holds the files of each commit, `branches` the last commit of each, `titles` those of the commits."""

    private: bool
    commits: dict = field(default_factory=dict)
    branches: dict = field(default_factory=dict)
    titles: list = field(default_factory=list)

    def commit(self, branch, title, files):
        oid = hashlib.sha1(f"{len(self.commits)} {title}".encode()).hexdigest()
        self.commits[oid], self.branches[branch] = files, oid
        self.titles.append(title)
        return oid

    def files(self, revision="main"):
        """`dict[str, Blob]` by path."""
        return self.commits[self.branches.get(revision, revision)]


class Refused(Exception):
    """An answer that is an error: status, message, and the code by which the client knows its kind."""

    def __init__(self, status, message, code=None):
        self.status, self.message, self.code = status, message, code


class HubStandIn:
    """
    The server, in threads of this process; a context manager.

    Attributes:
        endpoint (`str`): what HF_ENDPOINT is set to.
        tokens (`dict[str, set[str]]`): for each valid token the owners whose repositories it may write.
        repositories (`dict[str, Repository]`): by `owner/name`, of datasets by `datasets/owner/name`.
        failures (`dict[str, list[int]]`): statuses with which the next calls of a route are answered.
        requests (`list[tuple[str, str]]`): method and path of each request.
        unknown (`list[str]`): requests that it does not know: a test should find none.
    """

    def __init__(self, tokens):
        self.tokens = tokens
        self.repositories, self.large_files = {}, {}
        self.failures = defaultdict(list)
        self.requests, self.unknown = [], []
        # Large files lie on another host than the Hub itself, as with the real one.
        handlers = (type(kind.__name__, (kind,), {"hub": self}) for kind in (HubHandler, StorageHandler))
        self.servers = [ThreadingHTTPServer(("127.0.0.1", 0), each) for each in handlers]
        self.endpoint, self.storage = (f"http://127.0.0.1:{each.server_port}" for each in self.servers)

    def __enter__(self):
        for server in self.servers:
            threading.Thread(target=server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *error):
        for server in self.servers:
            server.shutdown()
            server.server_close()


# Of datasets with `datasets/` before it, as in the addresses of their files.
NAME = r"(?P<name>(?:datasets/)?[^/]+/[^/]+)"
API = f"/api/(?:models/|(?=datasets/)){NAME}"
HUB_ROUTES = [
    ("HEAD", "/", "front_page"),
    ("GET", "/api/agent-harnesses", "agent_harnesses"),
    ("GET", "/api/whoami-v2", "whoami"),
    ("POST", "/api/repos/create", "create"),
    ("POST", "/api/validate-yaml", "validate_yaml"),
    ("GET", API, "info"),
    ("GET", f"{API}/revision/(?P<revision>[^/]+)", "info"),
    ("GET", f"{API}/auth-check/write", "check_write"),
    ("GET", f"{API}/tree/(?P<revision>[^/]+)(/(?P<path>.+))?", "tree"),
    ("POST", f"{API}/branch/(?P<revision>[^/]+)", "branch"),
    ("POST", f"{API}/preupload/(?P<revision>[^/]+)", "preupload"),
    ("POST", f"{API}/commit/(?P<revision>[^/]+)", "commit"),
    ("POST", f"/{NAME}\\.git/info/lfs/objects/batch", "lfs_batch"),
    ("HEAD|GET", f"/{NAME}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", "resolve"),
]
STORAGE_ROUTES = [
    ("PUT", "/(?P<oid>[0-9a-f]{64})", "lfs_upload"),
    ("GET", "/(?P<oid>[0-9a-f]{64})", "lfs_download"),
]


class Handler(BaseHTTPRequestHandler):
    """Each `on_…` takes the body and its parts of the path, and returns what goes out as JSON, or answers by itself."""

    protocol_version = "HTTP/1.1"
    hub, routes = None, ()

    def log_message(self, *args):
        pass

    def handle_any(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.hub.requests.append((self.command, self.path))
        url = urlsplit(self.path)
        self.query = parse_qs(url.query)
        try:
            route, parts = self.find_route(url.path)
            if self.hub.failures[route]:
                raise Refused(self.hub.failures[route].pop(0), f"{route} was made to fail")
            answer = getattr(self, f"on_{route}")(body=body, **parts)
        except Refused as refused:
            headers = {"X-Error-Message": refused.message} | ({"X-Error-Code": refused.code} if refused.code else {})
            self.answer(json.dumps({"error": refused.message}).encode(), refused.status, headers)
        else:
            if answer is not None:
                self.answer(json.dumps(answer).encode())

    do_GET = do_HEAD = do_POST = do_PUT = handle_any

    def find_route(self, path):
        for methods, pattern, route in self.routes:
            match = re.fullmatch(pattern, path)
            if match and self.command in methods.split("|"):
                return route, {key: unquote(value) for key, value in match.groupdict().items() if value is not None}
        self.hub.unknown.append(f"{self.command} {self.path}")
        raise Refused(501, "The stand-in does not know this request.")

    def answer(self, content, status=200, headers=None):
        self.send_response(status)
        headers = {"Content-Type": "application/json", "Content-Length": len(content)} | (headers or {})
        for name, value in headers.items():
            self.send_header(name, str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


class HubHandler(Handler):
    """The Hub itself."""

    routes = HUB_ROUTES

    # ------------------------------------------------------------------------------------------------ who may what

    def owners(self):
        """Owners whose repositories the caller may write; None without a token."""
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if not token:
            return None
        if token not in self.hub.tokens:
            raise Refused(401, "Invalid credentials in Authorization header")
        return self.hub.tokens[token]

    def repository(self, name, writes=False):
        owners, repository = self.owners(), self.hub.repositories.get(name)
        hidden = repository is None or (repository.private and name.split("/")[-2] not in (owners or ()))
        if hidden:
            raise Refused(401 if owners is None else 404, "Repository not found", "RepoNotFound")
        if writes and name.split("/")[-2] not in (owners or ()):
            raise Refused(403, "You don't have the rights to write there")
        return repository

    def files(self, name, revision, **kwargs):
        """Commit and files of a revision."""
        repository = self.repository(name, **kwargs)
        oid = repository.branches.get(revision, revision)
        if oid not in repository.commits:
            raise Refused(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return oid, repository.commits[oid]

    # ---------------------------------------------------------------------------------------------------- routes

    def on_front_page(self, body):
        # Asked for to see whether anybody answers.
        return {}

    def on_agent_harnesses(self, body):
        # Asked for by the client, which would tell the Hub by which tool it is used.
        return {"standardEnvVars": [], "harnesses": {}}

    def on_whoami(self, body):
        if self.owners() is None:
            raise Refused(401, "Invalid username or password.")
        return {"type": "user", "name": "somebody", "orgs": []}

    def on_create(self, body):
        wanted = json.loads(body)
        owner = wanted["organization"] or "somebody"
        name = f"{'datasets/' if wanted.get('type') == 'dataset' else ''}{owner}/{wanted['name']}"
        if owner not in (self.owners() or ()):
            raise Refused(403, f"You don't have the rights to create a model under the namespace {owner}")
        if name in self.hub.repositories:
            content = {"error": "You already created this model repo", "url": f"{self.hub.endpoint}/{name}"}
            return self.answer(json.dumps(content).encode(), 409)
        self.hub.repositories[name] = repository = Repository(wanted.get("visibility") == "private")
        repository.commit("main", "initial commit", {".gitattributes": Blob(b"*.safetensors filter=lfs\n", False)})
        return {"url": f"{self.hub.endpoint}/{name}"}

    def on_check_write(self, body, name):
        self.repository(name, writes=True)
        return {}

    def on_validate_yaml(self, body):
        return {"errors": [], "warnings": []}

    def on_info(self, body, name, revision="main"):
        oid, files = self.files(name, revision)
        siblings = [{"rfilename": path} for path in files]
        return {"id": name, "sha": oid, "private": self.repository(name).private, "tags": [], "siblings": siblings}

    def on_tree(self, body, name, revision, path=""):
        _, files = self.files(name, revision)
        below = {each: blob for each, blob in files.items() if not path or each.startswith(f"{path}/")}
        if path and not below:
            raise Refused(404, f"{path} does not exist", "EntryNotFound")
        if self.query.get("recursive") != ["true"]:
            below = {each: blob for each, blob in below.items() if "/" not in each[len(path) :].lstrip("/")}
        return [entry(each, blob) for each, blob in below.items()]

    def on_branch(self, body, name, revision):
        oid, _ = self.files(name, json.loads(body or b"{}").get("startingPoint", "main"), writes=True)
        branches = self.repository(name).branches
        if revision in branches:
            raise Refused(409, f"Reference already exists: refs/heads/{revision}")
        branches[revision] = oid
        return {}

    def on_preupload(self, body, name, revision):
        _, files = self.files(name, revision, writes=True)
        return {
            "files": [
                {
                    "path": each["path"],
                    "uploadMode": "lfs" if LARGE.fullmatch(each["path"]) else "regular",
                    "shouldIgnore": False,
                    "oid": remote_oid(files.get(each["path"])),
                }
                for each in json.loads(body)["files"]
            ]
        }

    def on_lfs_batch(self, body, name):
        self.repository(name, writes=True)
        objects = json.loads(body)["objects"]
        for each in objects:
            if each["oid"] not in self.hub.large_files:
                each["actions"] = {"upload": {"href": f"{self.hub.storage}/{each['oid']}"}}
        return {"transfer": "basic", "objects": objects}

    def on_commit(self, body, name, revision):
        repository = self.repository(name, writes=True)
        if revision not in repository.branches:
            raise Refused(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        files = dict(repository.files(revision))
        for line in map(json.loads, body.splitlines()):
            kind, value = line["key"], line["value"]
            if kind == "header":
                title = value["summary"]
            elif kind == "file":
                files[value["path"]] = Blob(base64.b64decode(value["content"]), large=False)
            elif kind == "lfsFile":
                if value["oid"] not in self.hub.large_files:
                    raise Refused(400, f"{value['path']} was not uploaded")
                files[value["path"]] = self.hub.large_files[value["oid"]]
            elif kind == "deletedFile":
                del files[value["path"]]
            else:
                raise Refused(501, f"The stand-in does not know the operation {kind}")
        oid = repository.commit(revision, title, files)
        return {"success": True, "commitOid": oid, "commitUrl": f"{self.hub.endpoint}/{name}/commit/{oid}"}

    def on_resolve(self, body, name, revision, path):
        oid, files = self.files(name, revision)
        if path not in files:
            headers = {"X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found", "X-Repo-Commit": oid}
            return self.answer(b"Entry not found", 404, headers)
        blob = files[path]
        if not blob.large:
            return self.answer(blob.content, headers={"X-Repo-Commit": oid, "ETag": f'"{blob.git_oid}"'})
        headers = {"X-Repo-Commit": oid, "X-Linked-Size": len(blob.content), "X-Linked-Etag": f'"{blob.sha256}"'}
        return self.answer(b"", 302, headers | {"Location": f"{self.hub.storage}/{blob.sha256}"})


class StorageHandler(Handler):
    """Where large files are: the address itself is the permission, and the token must not come here."""

    routes = STORAGE_ROUTES

    def find_route(self, path):
        if "Authorization" in self.headers:
            raise Refused(400, "Only one way to authenticate is allowed")
        return super().find_route(path)

    def on_lfs_upload(self, body, oid):
        blob = Blob(body, large=True)
        if blob.sha256 != oid:
            raise Refused(400, "The content does not have this SHA-256")
        self.hub.large_files[oid] = blob
        return {}

    def on_lfs_download(self, body, oid):
        return self.answer(self.hub.large_files[oid].content, headers={"Content-Type": "application/octet-stream"})


def remote_oid(blob):
    """What the client compares its file with, to leave out what has not changed."""
    return None if blob is None else blob.sha256 if blob.large else blob.git_oid


def entry(path, blob):
    """A file in the listing of a repository."""
    lfs = {"oid": blob.sha256, "size": len(blob.content), "pointerSize": 134}
    found = {"type": "file", "path": path, "size": len(blob.content), "oid": blob.git_oid}
    return found | ({"lfs": lfs} if blob.large else {})
