"""A service that shows the evidence of `issuer`: the shapes of Phala Cloud over real HTTP.

Also a PCCS, a sidecar, and a TLS server with an RA-TLS certificate. What is asked is noted.
"""

import hashlib
import json
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, quote, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from issuer import FMSPC, NOW, PKI, Cvm, certificate, key, public_key


class Service:
    """Shows CVMs, by name; ``asked`` lists the paths that were read."""

    def __init__(self, cvms, pki=PKI, at=NOW):
        self.cvms, self.pki, self.at = dict(cvms), pki, at
        self.asked, self.missing = [], set()
        self.collateral = pki.collateral(at)
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                service.asked.append(self.path)
                status, headers, body = service.answer(self.path)
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    @property
    def origin(self):
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def url(self):
        return f"{self.origin}/api/v1"

    def close(self):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def count(self, part):
        return sum(part in path for path in self.asked)

    # --- answers -------------------------------------------------------------------------------

    def answer(self, path):
        parts = urlsplit(path)
        if any(part in path for part in self.missing):
            return _json({"detail": "not found"}, 404)
        if parts.path.startswith("/api/v1"):
            return self._api(parts.path.removeprefix("/api/v1"))
        if "certification" in parts.path:
            return self._pccs(parts.path)
        nonce = bytes.fromhex(parse_qs(parts.query).get("nonce", [""])[0])
        cvm = next(iter(self.cvms.values())).having(data=nonce)
        return _json({"quote": cvm.quote.hex(), "event_log": json.dumps(cvm.log)})

    def _api(self, path):
        steps = path.strip("/").split("/")
        names = list(self.cvms)
        if path == "/cvms/paginated":
            items = [self._record(name) for name in names]
            return _json({"items": items, "total": len(items), "page": 1, "pages": 1})
        if steps[0] == "cvms" and len(steps) == 2:
            found = [name for name in names if steps[1] in {name, f"cvm_{name}"}]
            return _json(self._record(found[0])) if found else _json({"detail": "no"}, 404)
        if steps[0] == "cvms" and steps[2] == "attestation":
            return _json(self._attestation(steps[1].removeprefix("cvm_")))
        if steps[0] == "apps":
            of_app = [n for n in names if self._record(n)["app_id"] == steps[1]]
            return _json({"app_id": steps[1], "instances": [self._instance(n) for n in of_app]})
        if steps[:2] == ["attestations", "collateral"]:
            known = {hashlib.sha256(cvm.quote).hexdigest() for cvm in self.cvms.values()}
            return _json(self.collateral) if steps[2] in known else _json({"detail": "no"}, 404)
        return _json({"detail": "no"}, 404)

    def _record(self, name):
        app = hashlib.sha1(name.partition("-")[0].encode()).hexdigest()
        uuid = hashlib.md5(name.encode()).hexdigest()
        return {"id": f"cvm_{name}", "name": name, "app_id": app, "vm_uuid": uuid,
                "status": "running"}  # fmt: skip

    def _instance(self, name):
        cvm = self.cvms[name]
        return {
            "vm_uuid": self._record(name)["vm_uuid"], "name": name, "quote": cvm.quote.hex(),
            "fmspc": FMSPC.hex(), "eventlog": cvm.log, "error": None,
            "tcb_info": self._tcb_info(cvm), "app_certificates": None,
        }  # fmt: skip

    def _attestation(self, name):
        cvm = self.cvms[name]
        described = {"subject": {}, "issuer": {}, "quote": cvm.quote.hex()}
        return {"is_online": True, "app_certificates": [described], "tcb_info": self._tcb_info(cvm)}

    @staticmethod
    def _tcb_info(cvm):
        registers = {name: value.hex() for name, value in cvm.registers.items()}
        return {**registers, "event_log": cvm.log, "app_compose": cvm.compose}

    def _pccs(self, path):
        collateral = self.collateral
        if path.endswith("/pckcrl"):
            body, header = bytes.fromhex(collateral["pck_crl"]), "SGX-PCK-CRL-Issuer-Chain"
            return 200, {header: quote(collateral["pck_crl_issuer_chain"])}, body
        if path.endswith("/rootcacrl"):
            return 200, {}, collateral["root_ca_crl"].encode()
        name, key, header = (
            ("tcb_info", "tcbInfo", "TCB-Info-Issuer-Chain")
            if path.endswith("/tcb")
            else ("qe_identity", "enclaveIdentity", "SGX-Enclave-Identity-Issuer-Chain")
        )
        body = f'{{"{key}": {collateral[name]}, "signature": "{collateral[f"{name}_signature"]}"}}'
        return 200, {header: quote(collateral[f"{name}_issuer_chain"])}, body.encode()


def _json(content, status=200):
    return status, {"Content-Type": "application/json"}, json.dumps(content).encode()


class TlsServer:
    """A TLS server whose certificate carries a quote of its key; it answers nothing."""

    def __init__(self, folder, cvm=None, *, served="RA-TLS"):
        bound = hashlib.sha512(b"ratls-cert:" + public_key(served)).digest()
        self.cvm = cvm or Cvm(data=bound)
        extensions = {"1": self.cvm.quote, "2": json.dumps(self.cvm.log).encode()}
        der = certificate(extensions, served)
        pem = x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM)
        private = key(served).private_bytes(
            Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()
        )
        path = folder / "server.pem"
        path.write_bytes(private + pem)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
        self._server.daemon_threads = True
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        self.url = f"https://127.0.0.1:{self._server.server_port}"

    def close(self):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
