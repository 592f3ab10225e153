"""All views in one bare page: what each looks like depends on no order of their style sheets."""

import base64

import pytest

import cvm_notebook as cvm
from cvm_notebook.widgets.base.secret_box import SecretBox
from cvm_notebook.widgets.login import Account, Login

COMPOSE = "services:\n  web:\n    image: nginx:1.27\n    ports: ['80:80']\n"
QUESTION = {
    "kind": "confirm", "click": "1", "verb": "delete", "title": "Delete 'web-1'?",
    "phrase": "web-1", "sentences": ["All data on the disk will be lost."], "summary": "",
    "head": ["name", "id"], "items": [["web-1", "cvm_1"]],
}  # fmt: skip
UNDO = {"kind": "asked", "click": "2", "ops": ["1"], "undo": 60, "text": "stop web-1"}
NOTICE = {"kind": "notice", "text": "It is gone."}
LINES = {
    "kind": "log", "run": 1, "n": 1, "begin": True, "dropped": 0, "state": "read", "text": "",
    "lines": [
        ["one", "stdout", None, "", "web"],
        ["\x1b[31mtwo", "stderr", 1_780_000_000_000, "error", "web"],
    ],
}  # fmt: skip
SHOW = """async views => {
    for (const { esm, css, state, messages } of views) {
        const sheet = document.createElement('style');
        sheet.textContent = css;
        document.head.append(sheet);
        if (state._boot64) {
            const bytes = Uint8Array.from(atob(state._boot64), one => one.charCodeAt(0));
            state._boot = new DataView(bytes.buffer);
        }
        const listeners = [], el = document.createElement('div');
        document.body.append(el);
        const model = {
            get: name => state[name], set() {}, save_changes() {}, send() {}, off() {},
            on: (name, then) => { if (name === 'msg:custom') listeners.push(then); },
        };
        const script = new Blob([esm], { type: 'text/javascript' });
        const made = await import(URL.createObjectURL(script));
        const widget = typeof made.default === 'function' ? made.default() : made.default;
        widget.initialize?.({ model });
        widget.render({ model, el });
        for (const message of messages) for (const then of listeners) then(message, []);
    }
    for (const tab of document.querySelectorAll('[role=tab]')) tab.click();
    for (const panel of document.querySelectorAll('[hidden]')) panel.hidden = false;
    await new Promise(done => setTimeout(done, 300));
}"""
DIFFERENCES = """() => {
    const sheets = [...document.head.querySelectorAll('style')];
    const elements = [...document.querySelectorAll('.cvm, .cvm *')];
    const looks = () => elements.map(el => {
        const look = getComputedStyle(el);
        return new Map([...look].map(name => [name, look.getPropertyValue(name)]));
    });
    const before = looks(), found = [];
    for (const sheet of [...sheets].reverse()) document.head.append(sheet);
    looks().forEach((now, at) => {
        const { tagName, className } = elements[at];
        for (const [name, value] of now)
            if (before[at].get(name) !== value)
                found.push(`${tagName}.${className} ${name}: ${before[at].get(name)} or ${value}`);
    });
    return [before[0].size * elements.length, found];
}"""


def drawn(widget, *messages):
    """Return what a front end is given of a widget, and the messages it gets then."""
    state = {
        key: value for key, value in widget.get_state().items() if isinstance(value, str | int)
    }
    boot = widget.get_state().get("_boot")
    if isinstance(boot, bytes):
        state["_boot64"] = base64.b64encode(boot).decode()
    return {"esm": widget._esm, "css": widget._css, "state": state, "messages": list(messages)}


LACKS = (
    "CPU and memory of 1 running CVM that are not measured yet (to measure all, order by CPU); "
    "the month of 1 CVM, which is not worked out yet"
)
WORDS = """views => {
    const say = new Function(`${views[0].esm.replace(/^export default.*$/m, '')};
        const rows = (...all) => lacksOf({
            rows: new Map(all.entries()), columns: [{ kind: 'share' }, { kind: 'spent' }],
        }, [...all.keys()]);
        let receive;
        const on = (name, then) => { receive = name === 'msg:custom' ? then : receive; };
        const store = viewModel({ on, get() {}, send() {} }), leap = Date.UTC(2020, 1, 29);
        store.begin();
        const unknown = Math.abs(store.now() - Date.now()) < 60000;
        receive({ kind: 'pulse', n: -1, at: leap });
        return [usdText(0), usdText(0.00556), usdText(0.06078), usdText(999.5), usdText(12647.2),
            spentText(0.0004), spentText(1), howMany(1, 'CVM'), howMany(2000, 'CVM'),
            clockTime(new Date(2026, 10, 9, 0, 5, 1)), momentText(new Date(2026, 10, 9, 13, 5)),
            listedText(new Date(2020, 1, 29, 23, 59, 59)),
            listedText(new Date().setHours(0, 0, 0, 0)),
            usdWords(0.000001), usdWords(100000), usdWords(0.1 + 0.2), usdWords(0),
            JSON.stringify(findText('(naïve|İ ', ['x', 'İİ (NAÏVE|İ (naïve|İ y'])),
            rows({ status: 'running', spark: '▁', month_usd: null }),
            rows({ status: 'running', month_usd: '1' }, { status: 'stopped' }),
            unknown && store.now() >= leap && store.now() < leap + 60000]`);
    return say();
}"""


@pytest.fixture
def views(cvm_cloud, cvm_client):
    """One of each of our views, drawn as fully as can be."""
    cvm_client.commit_cvm_provision(cvm_client.provision_cvm(name="web-1", compose_file=COMPOSE))
    cvm_cloud.advance(600)
    with cvm.Fleet(cvm_client) as fleet:
        fleet.wait(status="running", progress=False)
        form = fleet.deploy(name="form-app", compose_file=COMPOSE, env={"TOKEN": "x"})
        card, table = fleet["web-1"].card(), fleet.table()
        login, box = Login(Account()), SecretBox()
        yield [
            drawn(table, QUESTION, UNDO, NOTICE, LINES),
            drawn(card, QUESTION, UNDO, NOTICE, LINES),
            drawn(form),
            drawn(login),
            drawn(box),
        ]
        for one in (form, card, table, login, box):
            one.close()


def test_nothing_looks_otherwise_whichever_style_sheet_comes_last(page, views):
    page.goto("about:blank")
    page.evaluate(SHOW, views)
    still = "*, *::before, *::after { animation: none !important; transition: none !important }"
    page.evaluate(
        "css => { const one = document.createElement('style'); one.textContent = css;"
        " document.body.append(one); }",
        still,
    )
    compared, differences = page.evaluate(DIFFERENCES)
    assert compared > 50_000
    assert differences == []
    assert page.evaluate(WORDS, views) == [
        *("0.00", "0.0056", "0.06", "999.50", "12,647", "< 0.01", "1.00", "1 CVM", "2,000 CVMs"),
        *("00:05:01", "9 Nov 2026 13:05:00", "29 Feb 2020 23:59:59", "00:00:00"),
        *("0.000001", "100,000", "0.3", "0", "[[],[[3,12],[12,21]]]"),
        "",
        LACKS,
        True,
    ]
