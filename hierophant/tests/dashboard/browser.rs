//! Chromium in the hands of a test, by its DevTools protocol: one page, what it asked for, what went wrong.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

/// Longest wait for anything that the page must show.
const LIMIT: Duration = Duration::from_secs(30);

/// A page in a browser of its own, which ends when dropped.
pub struct Browser {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    process: Child,
    calls: u64,
    events: Vec<Value>,
    _profile: TempDir,
}

impl Browser {
    /// Starts Chromium with an empty page.
    pub async fn start() -> Self {
        let profile = TempDir::new().expect("temp dir");
        let process = Command::new(chromium())
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"])
            .args(["--no-first-run", "--disable-background-networking", "--disable-sync"])
            .args(["--disable-component-update", "--remote-debugging-port=0"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromium can be run");
        let socket = timeout(LIMIT, attach(&profile)).await.expect("chromium is ready in time");
        let mut browser = Self { socket, process, calls: 0, events: vec![], _profile: profile };
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), json!({})).await;
        }
        browser.show_as(1280, 900, "light").await;
        browser
    }

    /// The window's size in pixels, and which colours the system prefers: `light` or `dark`.
    pub async fn show_as(&mut self, width: u32, height: u32, colours: &str) {
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600});
        self.call("Emulation.setDeviceMetricsOverride", size).await;
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": colours}]});
        self.call("Emulation.setEmulatedMedia", features).await;
    }

    /// Loads a page.
    pub async fn open(&mut self, url: &str) {
        self.call("Page.navigate", json!({"url": "about:blank"})).await;
        self.call("Page.navigate", json!({"url": url})).await;
    }

    /// The value of an expression in the page.
    pub async fn eval(&mut self, expression: &str) -> Value {
        let asked = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let answer = self.call("Runtime.evaluate", asked).await;
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    /// Waits until an expression is true.
    pub async fn until(&mut self, expression: &str) {
        // While a page is being loaded there may be nothing to look into.
        let guarded =
            format!("(() => {{ try {{ return !!({expression}) }} catch {{ return false }} }})()");
        let waiting = async {
            while self.eval(&guarded).await != true {
                sleep(Duration::from_millis(50)).await;
            }
        };
        let came = timeout(LIMIT, waiting).await.is_ok();
        assert!(came, "not in time: {expression}\nthe page shows: {}", self.text().await);
    }

    /// Waits until the page shows these words.
    pub async fn until_shown(&mut self, words: &str) {
        self.until(&format!("document.body.innerText.includes({})", json!(words))).await;
    }

    /// All that the page shows.
    pub async fn text(&mut self) -> String {
        self.eval("document.body.innerText").await.as_str().unwrap_or_default().to_owned()
    }

    /// Chooses a view, once no dialog is before it any more, and waits until it is there: until then the one
    /// before can be clicked at.
    pub async fn choose(&mut self, view: &str) {
        self.until("!document.querySelector('dialog')").await;
        self.click("nav.views a", view).await;
        let heading = format!("document.querySelector('h1').innerText.startsWith({})", json!(view));
        self.until(&heading).await;
    }

    /// Presses the mouse on the first element that fits a selector and shows these words.
    pub async fn click(&mut self, selector: &str, words: &str) {
        let element = format!(
            "[...document.querySelectorAll({})].find((it) => \
             it.getClientRects().length > 0 && it.innerText.includes({}))",
            json!(selector),
            json!(words)
        );
        self.until(&format!("{element} && !{element}.disabled")).await;
        let place = self
            .eval(&format!(
                "(() => {{ const it = {element}; it.scrollIntoView({{ block: 'center' }}); \
                 const box = it.getBoundingClientRect(); \
                 return [box.x + box.width / 2, box.y + box.height / 2] }})()"
            ))
            .await;
        for kind in ["mousePressed", "mouseReleased"] {
            let event = json!({"type": kind, "x": place[0], "y": place[1], "button": "left", "clickCount": 1});
            self.call("Input.dispatchMouseEvent", event).await;
        }
    }

    /// Writes into the first field that fits a selector.
    pub async fn write(&mut self, selector: &str, words: &str) {
        let field = format!("document.querySelector({})", json!(selector));
        self.until(&format!("{field}.getClientRects().length > 0")).await;
        self.eval(&format!("{field}.focus()")).await;
        self.call("Input.insertText", json!({"text": words})).await;
    }

    /// Presses a key, such as `Escape` or `Tab`.
    pub async fn press(&mut self, key: &str, code: u32) {
        for kind in ["keyDown", "keyUp"] {
            let event = json!({"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code, "text": if key == "Enter" { "\r" } else { "" }});
            self.call("Input.dispatchKeyEvent", event).await;
        }
    }

    /// What went wrong in the page: exceptions, errors on the console, refused content.
    pub fn faults(&self) -> Vec<String> {
        let wrong = self.events.iter().filter(|event| match event["method"].as_str() {
            Some("Runtime.exceptionThrown") => true,
            Some("Runtime.consoleAPICalled") => event["params"]["type"] == "error",
            Some("Log.entryAdded") => event["params"]["entry"]["level"] == "error",
            _ => false,
        });
        wrong.map(|event| event["params"].to_string()).collect()
    }

    /// Every URL that the page has asked for.
    pub fn asked_for(&self) -> Vec<&str> {
        let sent = self.events.iter().filter(|it| it["method"] == "Network.requestWillBeSent");
        sent.filter_map(|event| event["params"]["request"]["url"].as_str()).collect()
    }

    /// Writes a picture of the window to a folder that `DASHBOARD_PICTURES` names, if it does.
    pub async fn picture(&mut self, name: &str) {
        let Some(folder) = std::env::var_os("DASHBOARD_PICTURES") else { return };
        let taken = self.call("Page.captureScreenshot", json!({"format": "png"})).await;
        let taken = BASE64_STANDARD.decode(taken["data"].as_str().expect("a picture"));
        let file = PathBuf::from(folder).join(format!("{name}.png"));
        std::fs::write(file, taken.expect("base64")).expect("writes");
    }

    async fn call(&mut self, method: &str, params: Value) -> Value {
        self.calls += 1;
        let id = self.calls;
        let text = json!({"id": id, "method": method, "params": params}).to_string();
        self.socket.send(Message::text(text)).await.expect("sends");
        let hearing = async {
            loop {
                let heard = self.socket.next().await.expect("chromium runs").expect("speaks");
                let Ok(text) = heard.into_text() else { continue };
                let Ok(mut message) = serde_json::from_str::<Value>(&text) else { continue };
                if message["id"] == id {
                    assert!(message["error"].is_null(), "{method}: {}", message["error"]);
                    return message["result"].take();
                }
                self.events.push(message);
            }
        };
        timeout(LIMIT, hearing).await.expect("chromium answers in time")
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Debian's name first.
fn chromium() -> PathBuf {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let mut places = names.iter().flat_map(|name| folders.iter().map(move |it| it.join(name)));
    places
        .find(|place| place.exists())
        .expect("no Chromium is installed; run `cargo xtask setup --tests`")
}

/// Waits for the browser's word on its port, and connects to its page.
async fn attach(profile: &TempDir) -> WebSocketStream<MaybeTlsStream<TcpStream>> {
    let file = profile.path().join("DevToolsActivePort");
    loop {
        sleep(Duration::from_millis(50)).await;
        let Ok(text) = std::fs::read_to_string(&file) else { continue };
        let Some(port) = text.lines().next().and_then(|line| line.parse::<u16>().ok()) else {
            continue;
        };
        let Ok(answer) = reqwest::get(format!("http://127.0.0.1:{port}/json/list")).await else {
            continue;
        };
        let targets: Vec<Value> = answer.json().await.expect("a list");
        let page = targets.iter().find(|target| target["type"] == "page");
        let Some(url) = page.and_then(|page| page["webSocketDebuggerUrl"].as_str()) else {
            continue;
        };
        return connect_async(url).await.expect("connects").0;
    }
}
