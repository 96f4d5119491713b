/* Insights Hub's tracker. Stores nothing on the device, and sets no cookie, unless the visitor consented.
 *
 *   <script async src="https://YOUR-HOST/v1/tracker.js" data-key="wk_..."></script>
 *   insights('product_view', {product_id: 'P1'})      also page_view, add_to_cart, checkout, purchase
 *   insights('user', '1001')                          the customer's number, from here on
 *   insights('consent', true)                         keep an id of this visitor; false forgets it
 */
(function (window, document) {
  'use strict';
  var script = document.currentScript, data = (script && script.dataset) || {};
  var queue = [], sending = [], pause = 1000, timer, user, visitor;
  var url = script && data.key && new URL('events?key=' + encodeURIComponent(data.key), script.src).href;
  var silent = !url || navigator.globalPrivacyControl || navigator.doNotTrack === '1' || window.doNotTrack === '1';
  var STORED = 'insights', MOST_QUEUED = 200, BATCH = 25, LONGEST_PAUSE = 60000;
  var query = new URLSearchParams(location.search), campaign = cut(query.get('utm_campaign'));
  var referrer = host(document.referrer);
  if (referrer === location.hostname) referrer = undefined;

  function cut(text) { return text ? String(text).slice(0, 200) : undefined; }
  function host(address) { try { return cut(new URL(address).hostname); } catch (e) { return undefined; } }
  function id() {
    var bytes = crypto.getRandomValues(new Uint8Array(16)), text = '';
    for (var i = 0; i < 16; i++) text += (bytes[i] + 256).toString(16).slice(1);
    return text;
  }
  function kept() { try { return JSON.parse(localStorage.getItem(STORED)); } catch (e) { return null; } }
  function keep() {
    if (visitor) try { localStorage.setItem(STORED, JSON.stringify({visitor: visitor, user: user})); } catch (e) {}
  }
  function consent(given) {
    if (!given) {
      visitor = undefined;
      try { localStorage.removeItem(STORED); } catch (e) {}
      return;
    }
    var known = kept() || {};
    visitor = visitor || known.visitor || id();
    user = user || known.user;
    keep();
  }

  function note(kind, about) {
    about = about || {};
    var event = {id: id(), at: Date.now(), interaction: kind, page: location.pathname.slice(0, 500),
      product_id: cut(about.product_id), order_id: cut(about.order_id), user_id: cut(about.user_id || user),
      referrer: referrer, campaign: campaign, region: cut(data.region)};
    if (queue.length === MOST_QUEUED) queue.shift();
    queue.push(event);
    later(0);
  }
  function later(milliseconds) { if (!timer && !sending.length) timer = setTimeout(send, milliseconds); }
  function body(events) {
    // A clock that was set back in between must not have events sent before they happened.
    var sent = events.reduce(function (latest, event) { return Math.max(latest, event.at); }, Date.now());
    return JSON.stringify({sent_at: sent, visitor: visitor, events: events});
  }
  function post(events) {
    // Text, so that the browser need not ask beforehand whether it may; and alive when the page is left.
    return fetch(url, {method: 'POST', body: body(events), headers: {'Content-Type': 'text/plain'}, keepalive: true,
      credentials: 'omit'});
  }
  function send() {
    timer = undefined;
    if (sending.length || !queue.length) return;
    sending = queue.splice(0, BATCH);
    post(sending).then(function (answer) {
      if (answer.status === 408 || answer.status === 429 || answer.status >= 500) {
        return again(1000 * answer.headers.get('Retry-After'));
      }
      if (!answer.ok) answer.text().then(function (text) { console.warn('insights: ' + text); });
      sending = [];
      pause = 1000;
      if (queue.length) later(0);
    }, function () { again(0); });
  }
  function again(atLeast) {
    queue = sending.concat(queue).slice(-MOST_QUEUED);
    sending = [];
    later(Math.max(atLeast, pause * (0.5 + Math.random())));
    pause = Math.min(2 * pause, LONGEST_PAUSE);
  }
  function leave() {
    while (queue.length) {
      var part = queue.splice(0, BATCH);
      if ('keepalive' in Request.prototype) post(part).catch(function () {});
      else navigator.sendBeacon(url, body(part));
    }
  }

  var KINDS = ['page_view', 'product_view', 'add_to_cart', 'checkout', 'purchase'];
  function insights(what, about) {
    if (silent) return;
    if (what === 'consent') consent(about);
    else if (what === 'user') { user = cut(about); keep(); }
    else if (KINDS.indexOf(what) >= 0) note(what, about);
    else console.warn('insights: there is no ' + what);
  }
  var before = (window.insights && window.insights.q) || [];
  window.insights = insights;
  if (silent) return;
  if (kept()) consent(true);
  if (data.auto !== 'off') note('page_view');
  before.forEach(function (call) { insights.apply(null, call); });
  addEventListener('pagehide', leave);
  addEventListener('pageshow', function (event) { if (event.persisted && data.auto !== 'off') note('page_view'); });
  document.addEventListener('visibilitychange', function () { if (document.visibilityState === 'hidden') leave(); });
})(window, document);
