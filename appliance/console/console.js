// The console: what the control API says, as a page. It only reads, and every text becomes a text
// node: names come from machines and people, and are never taken for markup.
'use strict';

const refresh_ms = 5000, points_shown = 100, events_shown = 25;
let chosen = null;  // The machine whose jobs and points are shown.

const at = id => document.getElementById(id);

function element(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = visible(text);
  if (className) made.className = className;
  return made;
}

// Control and direction characters would let a name pretend to be something else.
function visible(value) {
  return String(value).replace(/[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g, '\ufffd');
}

function bytes(value) {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
  let unit = 0;
  while (value >= 1024 && unit + 1 < units.length) { value /= 1024; unit += 1; }
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit]}`;
}

function duration(seconds) {
  if (seconds < 120) return `${seconds.toFixed(1)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${(seconds / 3600).toFixed(1)} h`;
  return `${Math.round(seconds / 86400)} days`;
}

const moment = micros => new Date(micros / 1000).toISOString().replace('T', ' ').slice(0, 19) + ' UTC';

// `rows`: arrays of texts or elements.
function table(titles, rows, none) {
  if (rows.length === 0) return element('p', none, 'none');
  const made = element('table');
  const head = element('tr');
  head.append(...titles.map(title => element('th', title)));
  made.append(head);
  for (const row of rows) {
    const line = element('tr');
    for (const cell of row) {
      const box = element('td');
      box.append(typeof cell === 'object' ? cell : visible(cell));
      line.append(box);
    }
    made.append(line);
  }
  return made;
}

function tile(title, value, more) {
  const made = element('div', undefined, 'tile');
  made.append(element('span', title), element('b', value), more);
  return made;
}

function cache_tile(cache) {
  const share = cache.capacity_bytes > 0 ? cache.free_bytes / cache.capacity_bytes : 0;
  const meter = element('meter');
  meter.max = 1;
  meter.low = 0.25;
  meter.high = 0.3;
  meter.optimum = 1;
  meter.value = share;
  const made = tile('cache', `${Math.round(share * 100)} % free`,
                    element('span', `${bytes(cache.live_bytes)} waiting of ${bytes(cache.capacity_bytes)}` +
                        (cache.full_forecast_s >= 0 ? `, full in ${duration(cache.full_forecast_s)}` : '')));
  made.append(meter);
  return made;
}

// Where the seconds of an RPO are spent; the largest is the bottleneck.
function bottleneck(stages) {
  const [name, seconds] = Object.entries(stages).sort((a, b) => b[1] - a[1])[0] ?? ['', 0];
  return seconds > 0 ? `${duration(seconds)} at ${name}` : '–';
}

function sync(machine) {
  const open = machine.disks.filter(disk => disk.sync);
  if (open.length === 0) return '';
  const sum = key => open.reduce((all, disk) => all + disk.sync[key], 0);
  const total = sum('super_chunks_total');
  return `, comparing: ${total > 0 ? Math.floor(100 * sum('super_chunks_done') / total) : 0} %`;
}

function machine_row(machine) {
  const name = element('button', machine.name || machine.id);
  name.type = 'button';
  name.addEventListener('click', () => { chosen = machine.id; look_at_machine(); });
  return [name, machine.mode + sync(machine),
          machine.rpo_seconds === undefined ? 'none yet' : duration(machine.rpo_seconds),
          bottleneck(machine.rpo_stage_seconds), machine.points,
          machine.newest_point ? moment(machine.newest_point.source_time_us) : '–',
          bytes(machine.backlog_bytes), machine.trouble ?? ''];
}

function target_row(target) {
  return [target.path, target.phase, target.machine ?? '', target.point ? moment(target.point.source_time_us) : '–'];
}

function condition_row(condition) {
  return [element('strong', condition.code), condition.subject, condition.detail, condition.next,
          moment(condition.since_us)];
}

function show_status(status) {
  const { server, health } = status;
  at('server').textContent = visible(`${server.name} · ${server.role} · port ${server.replication_port} · up ${duration(server.uptime_s)} · ${server.version}`);
  at('health').textContent = health.level;
  at('health').className = `pill ${health.level}`;
  at('tiles').replaceChildren(
      cache_tile(status.cache),
      tile('upload', bytes(status.upload.backlog_bytes), element('span', `waiting; ${status.upload.connections} of ${status.upload.connections_max} connections`)),
      tile('memory', bytes(server.resident_bytes), element('span', `of a budget of ${bytes(server.memory_budget_bytes)}`)),
      tile('sessions', server.sessions, element('span', `${status.machines.length} machines here`)));
  at('conditions').replaceChildren(
      table(['code', 'of', 'evidence', 'next', 'since'], status.conditions.map(condition_row), 'None stand.'));
  at('machines').replaceChildren(status.targets
      ? table(['target', 'phase', 'machine', 'newest point'], status.targets.map(target_row), 'No targets.')
      : table(['name', 'mode', 'RPO', 'mostly', 'points', 'newest point', 'waiting', ''], status.machines.map(machine_row), 'None has come yet.'));
}

function show_events(events) {
  const newest = events.slice(-events_shown).reverse();
  at('events').replaceChildren(
      table(['time', '', 'code', 'of', 'evidence'],
            newest.map(event => [moment(event.at_us), event.event, event.code, event.subject, event.detail]), 'None.'));
}

function job_row(job) {
  const share = job.state === 'running' && job.total > 0 ? ` ${Math.floor(100 * job.done / job.total)} %` : '';
  return [job.started, job.verb, job.state + share, duration(job.seconds), job.step ?? '', job.error ?? job.detail ?? job.next ?? ''];
}

// Which disks a failback has brought back, as `causeway machines MACHINE` says it.
function show_returned(returned) {
  const box = at('machine-returned');
  box.hidden = !returned;
  if (!returned) return;
  const back = returned.disks.filter(disk => disk.state === 'back').length;
  const phase = disk => disk.state === 'switching' ? 'missing, its switch had begun' : disk.state;
  box.replaceChildren(
      element('p', `${back} of ${returned.disks.length} disks are back at point ${returned.point} of ${returned.point_time}`),
      table(['disk', 'id', 'state'], returned.disks.map(disk => [disk.name, disk.disk, phase(disk)]), 'None.'));
}

function show_machine(machine) {
  at('machine').hidden = false;
  at('machine-title').textContent = visible(machine.name || machine.machine);
  const proven = machine.proven ? `newest proven point of ${machine.proven.point_time}` : 'no point was proven by a drill yet';
  at('machine-state').textContent = visible(`${machine.state}; ${proven}; allowed now: ${machine.allowed.join(', ')}`);
  show_returned(machine.returned);
  at('jobs').replaceChildren(table(['started', 'verb', 'state', 'took', 'step', ''], machine.jobs.map(job_row).reverse(), 'None yet.'));
  const points = machine.points.slice(-points_shown).reverse();
  at('points').replaceChildren(
      table(['time', 'kind', 'tag', 'id'], points.map(point => [point.time, point.kind, point.tag, point.id]), 'None yet.'));
}

async function ask(path) {
  const answer = await fetch(path, { cache: 'no-store' });
  const value = await answer.json();
  if (!answer.ok) throw new Error(`${value.code}: ${value.detail}`);
  return value;
}

async function look_at_machine() {
  if (chosen === null) return;
  const wanted = chosen;
  try {
    const machine = await ask(`v1/machines/${encodeURIComponent(wanted)}`);
    if (wanted === chosen) show_machine(machine);
  } catch (error) {
    at('machine').hidden = false;
    at('machine-title').textContent = visible(wanted);
    at('machine-state').textContent = visible(error.message);
    show_returned(undefined);
  }
}

async function look() {
  try {
    show_status(await ask('v1/status'));
    show_events(await ask('v1/events'));
    at('silence').hidden = true;
  } catch (error) {
    at('silence').textContent = visible(`The server does not answer; what you see is old. ${error.message}`);
    at('silence').hidden = false;
  }
}

// A look at a machine reads its history in the vault: less often.
async function keep_looking(round) {
  await look();
  if (round % 6 === 0) await look_at_machine();
  setTimeout(keep_looking, refresh_ms, round + 1);
}

keep_looking(0);
