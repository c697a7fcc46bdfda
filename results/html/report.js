// SPDX-License-Identifier: MIT
// The browser of transcripts and flips. Reads the JSON that html_data.c wrote (its keys are named there). Text
// goes in through text nodes only: never innerHTML, so that what a model said is never markup.
(() => {
  'use strict';

  // ---- Small parts ----------------------------------------------------------------------------

  function el(tag, props, ...children) {
    const node = document.createElement(tag);
    for (const [key, value] of Object.entries(props || {})) {
      if (key === 'class') node.className = value;
      else if (key.startsWith('on')) node.addEventListener(key.slice(2), value);
      else if (value !== null && value !== false) node.setAttribute(key, value === true ? '' : value);
    }
    for (const child of children.flat(Infinity)) {
      if (typeof child === 'string') putSafe(node, child);
      else if (child) node.append(child);
    }
    return node;
  }

  // Control characters, bidirectional overrides and what else hides or reorders text: as report_text in C.
  const ACTING = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]|\udb40[\udc00-\udc7f]/g;
  const hex = (n, digits) => n.toString(16).padStart(digits, '0');
  function escapeOf(c) {
    const code = c.codePointAt(0);
    return code < 0x80 ? '\\x' + hex(code, 2) : code < 0x10000 ? '\\u' + hex(code, 4) : '\\U' + hex(code, 8);
  }
  function putSafe(node, text) {
    text = text.replace(/\r\n/g, '\n');
    let from = 0;
    for (const match of text.matchAll(ACTING)) {
      if (match.index > from) node.append(text.slice(from, match.index));
      const mark = document.createElement('span');
      mark.className = 'esc';
      mark.textContent = escapeOf(match[0]);
      node.append(mark);
      from = match.index + match[0].length;
    }
    if (from < text.length) node.append(text.slice(from));
  }
  const oneLine = text => text.slice(0, 300).replace(/\r\n/g, '\n').replace(ACTING, escapeOf).replace(/\s+/g, ' ').trim();

  const plain = text => (text === undefined || text === null) ? '' : typeof text === 'string' ? text : text.head + '\u2026' + text.tail;
  function number(value) {
    if (value === null || value === undefined) return '\u2013';
    if (value < 0) return '\u2212' + number(-value);
    if (Number.isInteger(value)) return String(value);
    const text = value < 1e-3 || value >= 1e6 ? value.toExponential(2) : value.toFixed(value < 10 ? 3 : 2);
    return text.replace(/(\.\d*?)0+$/, '$1').replace(/\.$/, '');
  }
  const seconds = s => s === null || s === undefined ? '\u2013' : s < 1 ? Math.round(s * 1000) + ' ms' : s.toFixed(s < 10 ? 2 : 1) + ' s';

  // ---- Static parts of the page -----------------------------------------------------------------

  // What scrolls sideways can be reached by keyboard.
  function reachScrollers() {
    for (const box of document.querySelectorAll('.scroll')) {
      const scrolls = box.scrollWidth > box.clientWidth;
      const label = box.firstElementChild && box.firstElementChild.getAttribute('aria-label');
      for (const [name, value] of [['tabindex', '0'], ['role', 'region'], ['aria-label', label || 'table']]) {
        if (scrolls) box.setAttribute(name, value);
        else box.removeAttribute(name);
      }
    }
  }
  reachScrollers();
  addEventListener('resize', reachScrollers);
  let folded = [];
  addEventListener('beforeprint', () => {
    folded = [...document.querySelectorAll('details:not([open])')];
    for (const one of folded) one.open = true;
  });
  addEventListener('afterprint', () => { for (const one of folded) one.open = false; });

  const source = document.getElementById('data');
  const place = document.getElementById('browser');
  if (!source || !place) return;
  const data = JSON.parse(source.textContent);
  const runs = data.runs;
  const attempts = data.attempts;
  const isDiff = data.kind === 'diff';

  // ---- What the data says -------------------------------------------------------------------------

  function resolve(prompt, base) {
    if (prompt && prompt.rest !== undefined) return base.slice(0, prompt.from).concat(prompt.rest);
    return prompt;
  }
  const promptOf = a => resolve(a.prompt, runs[a.run].prompt);
  const evalOf = run => run.part ? run.eval + '/' + run.part : run.eval;

  /** right, partly, wrong, value (of a range without ends), unscored, error, none */
  function outcome(a, grader) {
    if (a.error) return 'error';
    const score = grader === undefined ? a.scores[0] : a.scores.find(s => s.grader === grader);
    if (!score) return 'none';
    if (score.value === null) return 'unscored';
    const range = runs[a.run].graders.find(g => g.name === score.grader);
    if (!range || range.low === null || range.high === null || !(range.high > range.low)) return 'value';
    let share = (score.value - range.low) / (range.high - range.low);
    if (range.lower) share = 1 - share;
    return share >= 1 ? 'right' : share <= 0 ? 'wrong' : 'partly';
  }
  const SIGNS = {right: '\u2713', partly: '\u25d0', wrong: '\u2717', unscored: '\u2013', error: '!', value: '', none: ''};
  const TONES = {right: 'good', partly: '', wrong: 'bad', unscored: 'bad', error: 'bad', value: '', none: ''};

  function textOfPrompt(prompt) {
    return Array.isArray(prompt) ? prompt.map(m => plain(m.text)).join('\n') : plain(prompt);
  }
  function haystackOf(a) {
    const run = runs[a.run];
    return [a.id, evalOf(run), run.variant, run.model, textOfPrompt(promptOf(a)), textOfPrompt(a.input), a.reply, a.target, a.metadata, a.notes,
      a.error ? a.error.map(plain).join(' ') : '', ...a.scores.map(s => plain(s.why) + ' ' + plain(s.answer)),
      ...(a.calls || []).map(c => plain(c.text))].map(plain).join('\n').toLowerCase();
  }

  // ---- Entries of the list --------------------------------------------------------------------------

  const order = (x, y) => x < y ? -1 : x > y ? 1 : 0;
  const canonical = (x, y) => attempts[x].run - attempts[y].run || order(attempts[x].id, attempts[y].id) || attempts[x].epoch - attempts[y].epoch;
  const varies = key => new Set(runs.map(r => r[key])).size > 1;
  const shown = {eval: varies('eval') || varies('part'), variant: varies('variant'), model: varies('model')};

  function attemptEntry(n) {
    const a = attempts[n];
    const run = runs[a.run];
    return {
      n, run,
      hay: () => haystackOf(a),
      sign: grader => {
        const kind = outcome(a, grader);
        const score = grader === undefined ? a.scores[0] : a.scores.find(s => s.grader === grader);
        return {kind, text: (SIGNS[kind] + ' ' + (score && score.value !== null && !a.error ? number(score.value) : '')).trim(), tone: TONES[kind]};
      },
      who: [a.id, shown.eval && evalOf(run), shown.variant && run.variant, shown.model && run.model, a.epoch > 1 && 'epoch ' + a.epoch].filter(Boolean).join(' \u00b7 '),
      what: oneLine(a.error ? plain(a.error[1]) : plain(a.reply)) || '(empty reply)',
      render: box => renderAttempt(box, n),
    };
  }
  function flipEntry(flip, n) {
    const first = attempts[flip.candidate_attempts[0]];
    const kind = flip.better ? 'better' : 'worse';
    return {
      n, flip, run: first && runs[first.run],
      hay: () => [...flip.base_attempts, ...flip.candidate_attempts].map(i => haystackOf(attempts[i])).join('\n'),
      sign: () => ({kind, text: flip.better ? '\u25b2' : '\u25bc', tone: flip.better ? 'good' : 'bad'}),
      who: [flip.id, flip.part ? flip.eval + '/' + flip.part : flip.eval].join(' \u00b7 '),
      what: kind + ': ' + number(flip.base) + ' \u2192 ' + number(flip.candidate) + (first ? '  ' + oneLine(plain(first.reply)) : ''),
      render: box => renderFlip(box, flip),
    };
  }
  const entries = isDiff ? data.flips.map(flipEntry)
    : attempts.map((_, n) => n).sort(canonical).map(attemptEntry);

  // ---- Details ----------------------------------------------------------------------------------------

  function textBox(text, extra, marks) {
    const box = el('div', {class: 'text ' + (extra || '')});
    if (text === undefined || text === null || text === '') box.append(el('span', {class: 'note'}, '(empty)'));
    else if (typeof text !== 'string') {
      putSafe(box, text.head);
      box.append(el('span', {class: 'cut'}, text.cut + ' bytes are left out here'));
      putSafe(box, text.tail);
    } else if (marks) {
      for (const part of marks) box.append(part.differs ? el('span', {class: 'differs'}, part.text) : el('span', {}, part.text));
    } else putSafe(box, text);
    return box;
  }
  const title = text => el('h4', {}, text);
  function fold(name, ...children) {
    return el('details', {}, el('summary', {}, name), children);
  }

  /** A prompt; the beginning that the run's prompts share is paler. */
  function promptBoxes(prompt, paleUnits) {
    if (Array.isArray(prompt)) {
      return prompt.map(m => [el('p', {class: 'role'}, m.role), m.text === undefined && m.more ? null : textBox(m.text), m.more ? textBox(m.more) : null]).flat();
    }
    if (typeof prompt === 'string' && paleUnits > 0) {
      const box = el('div', {class: 'text'}, el('span', {class: 'note'}, prompt.slice(0, paleUnits)));
      putSafe(box, prompt.slice(paleUnits));
      return [box];
    }
    return [textBox(prompt)];
  }
  function paleUnits(a) {
    const prompt = a.prompt;
    if (!prompt || typeof prompt.rest !== 'string' || prompt.rest === '') return 0;
    return runs[a.run].prompt.lastIndexOf('\n', prompt.from - 1) + 1;
  }

  function choicesTable(choices) {
    const logprobs = choices.map(c => c[1]).filter(v => v !== null);
    const best = Math.max(...logprobs);
    const total = logprobs.reduce((sum, v) => sum + Math.exp(v - best), 0);
    const withUnconditional = choices.some(c => c[4] !== null);
    const rows = choices.map(c => {
      const share = c[1] === null ? 0 : Math.exp(c[1] - best) / total;
      const fill = el('i', {});
      fill.style.width = (100 * share).toFixed(1) + '%';
      return el('tr', {class: c[1] === best ? 'best' : ''}, el('td', {class: 'name'}, (c[1] === best ? '\u25b8 ' : '') + plain(c[0])),
        el('td', {class: 'r'}, number(c[1])), el('td', {class: 'r'}, (100 * share).toFixed(1) + ' %'), el('td', {}, el('span', {class: 'bar', 'aria-hidden': 'true'}, fill)),
        el('td', {class: 'r'}, String(c[2])), withUnconditional ? el('td', {class: 'r'}, number(c[4])) : null);
    });
    const heads = ['choice', 'log-probability', 'share', '', 'tokens'].concat(withUnconditional ? ['unconditional'] : []);
    return el('div', {class: 'scroll'}, el('table', {'aria-label': 'choices'},
      el('thead', {}, el('tr', {}, heads.map((h, i) => el(h ? 'th' : 'td', h ? {scope: 'col', class: i > 0 ? 'r' : ''} : {}, h)))), el('tbody', {}, rows)));
  }

  function scoresTable(a) {
    const rows = a.scores.map(s => {
      const kind = outcome(a, s.grader);
      return el('tr', {}, el('th', {scope: 'row'}, s.grader),
        el('td', {class: TONES[kind]}, SIGNS[kind] + ' ' + (s.value === null ? 'unscored' : number(s.value)) + (s.weight ? ' \u00d7 ' + number(s.weight) : '')),
        el('td', {class: 'name'}, s.answer === undefined ? '\u2013' : oneLine(plain(s.answer)) || '(empty)'), el('td', {}, s.why ? plain(s.why) : ''));
    });
    const detail = a.scores.filter(s => s.detail).map(s => fold('Detail of ' + s.grader, textBox(s.detail)));
    return [el('div', {class: 'scroll'}, el('table', {'aria-label': 'scores'},
      el('thead', {}, el('tr', {}, ['grader', 'score', 'answer', 'why'].map(h => el('th', {scope: 'col'}, h)))), el('tbody', {}, rows))), ...detail];
  }

  /** Of several turns: the messages of the solver's last call, which holds those before; else null. */
  function conversation(a) {
    let before = promptOf(a);
    const first = before;
    let last = null;
    for (const c of a.calls || []) {
      if (c.prompt !== undefined) before = resolve(c.prompt, before);
      if (!c.path.startsWith('g')) last = before;
    }
    const grew = Array.isArray(first) && Array.isArray(last) && last.length > first.length;
    return grew && first.every((m, i) => JSON.stringify(m) === JSON.stringify(last[i])) ? last : null;
  }

  function callBoxes(a) {
    const run = runs[a.run];
    let before = promptOf(a);
    return a.calls.map(c => {
      const parts = [];
      if (c.prompt !== undefined) {
        const earlier = Array.isArray(before) && c.prompt.rest !== undefined ? c.prompt.from : 0;
        before = resolve(c.prompt, before);
        if (earlier > 0) parts.push(el('p', {class: 'note'}, earlier + (earlier === 1 ? ' message' : ' messages') + ' as before, then:'));
        parts.push(...promptBoxes(Array.isArray(before) ? before.slice(earlier) : before));
      }
      if (c.choices) parts.push(choicesTable(c.choices));
      if (c.reasoning) parts.push(el('p', {class: 'role'}, 'reasoning'), textBox(c.reasoning));
      const text = c.text !== undefined ? c.text : a.reply;
      if (plain(text) !== '' || !(c.choices || c.tools)) parts.push(el('p', {class: 'role'}, 'reply'), textBox(text, 'reply'));
      for (const more of c.more || []) parts.push(textBox(more, 'reply'));
      if (c.refusal) parts.push(el('p', {class: 'role'}, 'refusal'), textBox(c.refusal));
      if (c.tools) parts.push(el('p', {class: 'role'}, 'tool calls'), textBox(c.tools));
      parts.push(el('p', {class: 'note'}, [c.stop && 'stop: ' + c.stop, seconds(c.seconds), plain(c.settings || run.settings)].filter(Boolean).join(' \u00b7 ')));
      const name = (c.path.startsWith('g') ? 'Grader\u2019s call ' : 'Call ') + c.path + (c.role ? ' to ' + c.role : '');
      return fold(name, parts);
    });
  }

  function usageLine(a) {
    const [input, output, cached, reasoning] = a.usage;
    return [a.stop && 'stop: ' + a.stop, input + ' tokens in' + (cached ? ' (' + cached + ' cached)' : ''), output + ' out' + (reasoning ? ' (' + reasoning + ' reasoning)' : ''),
      seconds(a.seconds), a.cost && '$' + a.cost.toPrecision(3)].filter(Boolean).join(' \u00b7 ');
  }

  /** All of an attempt from its reply on. */
  function afterPrompt(a, marks, withoutTarget) {
    const parts = [];
    if (a.error) parts.push(title('Error'), textBox(a.error[1]), el('p', {class: 'note'}, a.error[0]));
    if (!a.error || a.reply) parts.push(title('Reply'), textBox(a.reply, 'reply', marks), el('p', {class: 'note'}, usageLine(a)));
    if (a.scores.length) parts.push(title('Scores'), ...scoresTable(a));
    if (a.choices) parts.push(title('Choices (log-probability in nat)'), choicesTable(a.choices));
    if (targetText(a.target) && !withoutTarget) parts.push(title('Target'), textBox(targetText(a.target)));
    return parts;
  }
  function targetText(target) {
    if (typeof target !== 'string') return target;
    try {
      const list = JSON.parse(target);
      return Array.isArray(list) && list.every(t => typeof t === 'string') ? list.join('\n') : target;
    } catch (_) {
      return target;
    }
  }
  function furtherBoxes(a, withoutInput) {
    const parts = [];
    if (a.notes) parts.push(title('Notes'), textBox(a.notes));
    if (a.input && !withoutInput) parts.push(fold('Input', promptBoxes(a.input)));
    if (a.metadata) parts.push(fold('Metadata', textBox(a.metadata)));
    if (a.calls) parts.push(...callBoxes(a));
    return parts;
  }

  let bySample = null;
  function siblings(n) {
    const key = i => JSON.stringify([runs[attempts[i].run].eval, runs[attempts[i].run].part, attempts[i].id]);
    if (!bySample) {
      bySample = new Map();
      attempts.forEach((_, i) => { const k = key(i); if (!bySample.has(k)) bySample.set(k, []); bySample.get(k).push(i); });
    }
    return bySample.get(key(n)).sort(canonical);
  }

  function renderAttempt(box, n) {
    const a = attempts[n];
    const run = runs[a.run];
    box.append(el('h3', {}, a.id || '(no id)'));
    box.append(el('p', {class: 'where'}, [evalOf(run), run.variant, run.model, 'epoch ' + a.epoch].filter(Boolean).join(' \u00b7 ')));
    const others = siblings(n);
    if (others.length > 1) {
      box.append(el('div', {class: 'also', role: 'group', 'aria-label': 'The same sample elsewhere'}, others.slice(0, 24).map(i => {
        const other = attempts[i];
        const r = runs[other.run];
        const name = [shown.variant && r.variant, shown.model && r.model, other.epoch > 1 && 'epoch ' + other.epoch].filter(Boolean).join(' \u00b7 ') || 'epoch ' + other.epoch;
        return el('button', {type: 'button', 'aria-current': i === n ? 'true' : null, onclick: () => showAttempt(i)}, SIGNS[outcome(other)] + ' ' + name);
      })));
    }
    const talk = conversation(a);
    const boxes = promptBoxes(talk || promptOf(a), paleUnits(a));
    box.append(title(talk ? 'Conversation' : 'Prompt'), ...boxes.filter(Boolean), ...afterPrompt(a), ...furtherBoxes(a));
    if (boxes.length === 1) boxes[0].scrollTop = boxes[0].scrollHeight; // the question is at the end
  }

  // ---- Flips ------------------------------------------------------------------------------------------

  /** Words of two texts, marked where they differ; null when they are too long for it. */
  function wordMarks(left, right) {
    if (typeof left !== 'string' || typeof right !== 'string' || left === right) return [null, null];
    const a = left.split(/(\s+)/), b = right.split(/(\s+)/);
    if (a.length * b.length > 1e6) return [null, null];
    const width = b.length + 1;
    const table = new Uint32Array((a.length + 1) * width);
    for (let i = a.length - 1; i >= 0; i--) {
      for (let j = b.length - 1; j >= 0; j--) {
        table[i * width + j] = a[i] === b[j] ? table[(i + 1) * width + j + 1] + 1 : Math.max(table[(i + 1) * width + j], table[i * width + j + 1]);
      }
    }
    const marks = [[], []];
    const put = (side, text, differs) => {
      const list = marks[side];
      if (list.length && list[list.length - 1].differs === differs) list[list.length - 1].text += text;
      else list.push({text, differs});
    };
    let i = 0, j = 0;
    while (i < a.length || j < b.length) {
      if (i < a.length && j < b.length && a[i] === b[j]) { put(0, a[i++], false); put(1, b[j++], false); }
      else if (j >= b.length || (i < a.length && table[(i + 1) * width + j] >= table[i * width + j + 1])) put(0, a[i++], true);
      else put(1, b[j++], true);
    }
    return marks;
  }

  function renderFlip(box, flip) {
    box.append(el('h3', {}, flip.id));
    box.append(el('p', {class: 'where'}, [flip.part ? flip.eval + '/' + flip.part : flip.eval, flip.metric].join(' \u00b7 ')));
    box.append(el('p', {class: flip.better ? 'good' : 'bad'}, el('strong', {}, (flip.better ? '\u25b2 better' : '\u25bc worse') + ': ' + number(flip.base) + ' \u2192 ' + number(flip.candidate))));
    const rounds = Math.max(flip.base_attempts.length, flip.candidate_attempts.length);
    for (let i = 0; i < rounds; i++) {
      const pair = [flip.base_attempts[i], flip.candidate_attempts[i]].map(n => n === undefined ? null : attempts[n]);
      if (rounds > 1) box.append(title('Epoch ' + (pair[0] || pair[1]).epoch));
      renderPair(box, pair);
    }
  }
  function renderPair(box, pair) {
    const any = pair[0] || pair[1];
    const marks = pair[0] && pair[1] ? wordMarks(pair[0].reply, pair[1].reply) : [null, null];
    const sameTarget = !pair[0] || !pair[1] || pair[0].target === pair[1].target;
    if (!any) {
      box.append(el('p', {class: 'note'}, 'Neither reply is in this file.'));
      return;
    }
    if (any.input) box.append(title('Input'), ...promptBoxes(any.input).filter(Boolean));
    if (sameTarget && targetText(any.target)) box.append(title('Target'), textBox(targetText(any.target)));
    box.append(el('div', {class: 'pair'}, pair.map((a, side) => {
      const run = a && runs[a.run];
      const column = el('div', {role: 'group', 'aria-label': side ? 'candidate' : 'base'},
        el('h4', {}, (side ? 'Candidate' : 'Base') + (run ? ': ' + [run.variant, run.model].filter(Boolean).join(' \u00b7 ') : '')));
      if (!a) column.append(el('p', {class: 'note'}, 'not in this file'));
      else column.append(...afterPrompt(a, marks[side], sameTarget), fold('Prompt', promptBoxes(promptOf(a), paleUnits(a)).filter(Boolean)), ...furtherBoxes(a, true));
      return column;
    })));
  }

  // ---- Controls -----------------------------------------------------------------------------------------

  const noun = isDiff ? 'flips' : 'attempts';
  const search = el('input', {type: 'search', id: 'search', autocomplete: 'off', spellcheck: 'false', 'aria-keyshortcuts': '/'});
  const controls = el('div', {class: 'controls', role: 'search', 'aria-label': 'Find ' + noun}, el('label', {class: 'search'}, 'Search in prompts, replies, reasons', search));
  const filters = [];
  function addFilter(label, choices, test) {
    if (choices.length < 2) return null;
    const select = el('select', {}, el('option', {value: ''}, 'all'), choices.map(([value, text]) => el('option', {value}, oneLine(text))));
    controls.append(el('label', {}, label, select));
    filters.push({select, test});
    select.addEventListener('change', refresh);
    return select;
  }
  const distinct = list => [...new Set(list)].map(v => [v, v === '' ? '(none)' : v]);
  let graderSelect = null;
  const graderNow = () => graderSelect ? graderSelect.value : undefined;
  if (isDiff) {
    addFilter('Direction', [['worse', '\u25bc worse'], ['better', '\u25b2 better']], (e, v) => (e.flip.better ? 'better' : 'worse') === v);
    addFilter('Eval', distinct(data.flips.map(f => f.eval)), (e, v) => e.flip.eval === v);
    addFilter('Part', distinct(data.flips.map(f => f.part)), (e, v) => e.flip.part === v);
    addFilter('Metric', distinct(data.flips.map(f => f.metric)), (e, v) => e.flip.metric === v);
    addFilter('Variant', distinct(entries.filter(e => e.run).map(e => e.run.variant)), (e, v) => e.run && e.run.variant === v);
    addFilter('Model', distinct(entries.filter(e => e.run).map(e => e.run.model)), (e, v) => e.run && e.run.model === v);
  } else {
    const used = [...new Set(attempts.map(a => a.run))].sort((x, y) => x - y).map(i => runs[i]);
    addFilter('Eval', distinct(used.map(r => r.eval)), (e, v) => e.run.eval === v);
    addFilter('Part', distinct(used.map(r => r.part)), (e, v) => e.run.part === v);
    addFilter('Variant', distinct(used.map(r => r.variant)), (e, v) => e.run.variant === v);
    addFilter('Model', distinct(used.map(r => r.model)), (e, v) => e.run.model === v);
    const graders = [...new Set(used.flatMap(r => r.graders.map(g => g.name)))];
    if (graders.length > 1) {
      graderSelect = el('select', {onchange: () => refresh()}, el('option', {value: ''}, 'first'), graders.map(g => el('option', {value: g}, g)));
      controls.append(el('label', {}, 'By grader', graderSelect));
    }
    addFilter('Score', [['failing', 'not right'], ['right', '\u2713 right'], ['partly', '\u25d0 partly'], ['wrong', '\u2717 wrong'], ['unscored', '\u2013 unscored']],
      (e, v) => { const kind = outcome(attempts[e.n], graderNow() || undefined); return v === 'failing' ? kind !== 'right' && kind !== 'none' : kind === v; });
    addFilter('State', [['done', 'done'], ['error', '! error']], (e, v) => (attempts[e.n].error ? 'error' : 'done') === v);
    const sortSelect = el('select', {onchange: () => { failingFirst = sortSelect.value === 'failing'; refresh(); }}, el('option', {value: ''}, 'as run'), el('option', {value: 'failing'}, 'failing first'));
    controls.append(el('label', {}, 'Order', sortSelect));
  }
  let failingFirst = false;

  // ---- The list: only the rows in view exist ---------------------------------------------------------------

  const ROW = 48;
  const rows = el('div', {class: 'rows'});
  const list = el('div', {class: 'list', role: 'listbox', tabindex: '0', id: 'list', 'aria-label': isDiff ? 'Flips' : 'Attempts'}, rows);
  const status = el('span', {role: 'status'});
  const detail = el('article', {class: 'detail', tabindex: '-1', 'aria-label': isDiff ? 'Both replies' : 'Transcript'});
  const keys = el('span', {class: 'keys'}, el('kbd', {}, '/'), ' search  ', el('kbd', {}, 'j'), ' ', el('kbd', {}, 'k'), ' next, previous  ', el('kbd', {}, 'Enter'), ' read  ', el('kbd', {}, 'Esc'), ' back to the list');
  place.replaceChildren(controls, el('div', {class: 'found'}, status, keys), el('div', {class: 'panes'}, list, detail));

  let found = entries;
  let at = -1; // position in found

  function drawRows() {
    const first = Math.max(0, Math.floor(list.scrollTop / ROW) - 6);
    const last = Math.min(found.length, Math.ceil((list.scrollTop + list.clientHeight) / ROW) + 6);
    const items = [];
    for (let i = first; i < last; i++) {
      const entry = found[i];
      const sign = entry.sign(graderNow() || undefined);
      const item = el('div', {class: 'item', role: 'option', id: 'row' + i, 'aria-selected': i === at ? 'true' : 'false', 'aria-setsize': String(found.length), 'aria-posinset': String(i + 1), onclick: () => choose(i, true)},
        el('span', {class: 'sign ' + sign.tone}, el('span', {class: 'vh'}, sign.kind + ' '), sign.text), el('span', {class: 'who'}, entry.who), el('span', {class: 'what'}, entry.what));
      item.style.top = i * ROW + 'px';
      items.push(item);
    }
    rows.replaceChildren(...items);
    if (at >= 0) list.setAttribute('aria-activedescendant', 'row' + at);
    else list.removeAttribute('aria-activedescendant');
  }
  list.addEventListener('scroll', () => requestAnimationFrame(drawRows));
  addEventListener('resize', drawRows);

  function choose(i, byUser) {
    if (!found.length) return;
    at = Math.max(0, Math.min(i, found.length - 1));
    const top = at * ROW;
    if (top < list.scrollTop) list.scrollTop = top;
    else if (top + ROW > list.scrollTop + list.clientHeight) list.scrollTop = top + ROW - list.clientHeight;
    drawRows();
    detail.replaceChildren();
    found[at].render(detail);
    for (const box of detail.querySelectorAll('.text, .scroll')) {
      if (box.scrollHeight > box.clientHeight + 1 || box.scrollWidth > box.clientWidth + 1) box.tabIndex = 0;
    }
    if (!byUser) return;
    const id = (isDiff ? '#f' : '#a') + found[at].n;
    try { history.replaceState(null, '', id); } catch (_) { /* a sandboxed page has no history */ }
    if (matchMedia('(max-width: 52rem)').matches) detail.scrollIntoView({block: 'start'});
  }
  function showAttempt(n) {
    let i = found.findIndex(e => e.n === n);
    if (i < 0) { // hidden by a filter
      search.value = '';
      for (const f of filters) f.select.value = '';
      refresh();
      i = found.findIndex(e => e.n === n);
    }
    choose(i, true);
    const current = detail.querySelector('[aria-current="true"]');
    if (current) current.focus();
  }

  function refresh() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const on = filters.filter(f => f.select.value !== '');
    const before = at >= 0 ? found[at] : null;
    found = entries.filter(e => {
      if (!on.every(f => f.test(e, f.select.value))) return false;
      if (!words.length) return true;
      if (e.text === undefined) e.text = e.hay();
      return words.every(w => e.text.includes(w));
    });
    if (failingFirst) {
      const rank = {error: 0, wrong: 1, unscored: 2, partly: 3, value: 4, right: 5, none: 6};
      const ranks = new Map(found.map(e => [e, rank[outcome(attempts[e.n], graderNow() || undefined)]]));
      found.sort((x, y) => ranks.get(x) - ranks.get(y));
    }
    rows.style.height = found.length * ROW + 'px';
    status.textContent = found.length === entries.length ? entries.length + ' ' + noun : found.length + ' of ' + entries.length + ' ' + noun;
    at = -1;
    list.scrollTop = 0;
    if (!found.length) {
      rows.replaceChildren(el('p', {class: 'empty'}, entries.length ? 'Nothing matches.' : 'Nothing here.'));
      detail.replaceChildren();
      return;
    }
    choose(Math.max(0, found.indexOf(before)), false);
  }

  let timer = 0;
  search.addEventListener('input', () => { clearTimeout(timer); timer = setTimeout(refresh, 150); });
  refresh();
  const link = /^#([af])(\d+)$/.exec(location.hash);
  if (link && (link[1] === 'f') === isDiff) {
    const i = found.findIndex(e => e.n === Number(link[2]));
    if (i >= 0) { choose(i, false); place.scrollIntoView(); }
  }

  // ---- Keys -------------------------------------------------------------------------------------------------

  const moves = {
    j: 1, k: -1, ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10, Home: -Infinity, End: Infinity,
  };
  addEventListener('keydown', event => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName);
    if (event.key === 'Escape' && (typing || detail.contains(event.target))) {
      list.focus();
      return;
    }
    if (typing) {
      if (event.key === 'Enter' && event.target === search) list.focus();
      return;
    }
    if (event.key === '/') {
      event.preventDefault();
      search.focus();
      search.select();
    } else if (event.key === 'j' || event.key === 'k' || (event.target === list && event.key in moves)) {
      event.preventDefault();
      const step = moves[event.key];
      choose(step === Infinity ? found.length - 1 : step === -Infinity ? 0 : at + step, true);
    } else if (event.key === 'Enter' && event.target === list) {
      event.preventDefault();
      detail.focus();
    }
  });
})();
