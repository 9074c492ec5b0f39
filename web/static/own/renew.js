// The moving part of a page asks for itself again: soon while something runs, seldom otherwise,
// not at all while nobody sees it. htmx fetches and morphs; what has not changed is not sent.

const part = () => document.getElementById("moving");
const stale = document.getElementById("stale");
let timer;

function wait() {
  clearTimeout(timer);
  if (document.hidden || !part()) return;
  timer = setTimeout(renew, Number(part().dataset.seconds) * 1000);
}

function renew() {
  htmx.trigger(part(), "renew");
}

function outcome(good) {
  if (stale) stale.hidden = good;
  wait();
}

document.addEventListener("htmx:config:request", (event) => {
  event.detail.ctx.request.headers["If-None-Match"] = `"${part().dataset.version}"`;
});
document.addEventListener("htmx:finally:request", (event) => {
  const status = event.detail.ctx.response?.status;
  outcome(status === 200 || status === 304);
});
document.addEventListener("visibilitychange", () => {
  if (document.hidden) clearTimeout(timer);
  else if (part()) renew();
});

wait();
