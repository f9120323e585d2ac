// The testbed's Node application: `app.js serve HOST PORT [CERTIFICATE KEY]` or `app.js serve PATH` on the http (or
// https) module's server, `app.js client fetch|http BASE` on fetch (undici) or the http (or https) module's client.
// `app.js many BASE CONNECTIONS ROUNDS` asks for /peer?n=N on all connections at once, prints "N BODY" lines.
// The server prints one JSON line per request; the client reads "METHOD TARGET BODY_BYTES" lines and prints
// "STATUS BODY_BYTES" lines. `app.js serve2 HOST PORT [CERTIFICATE KEY]` and `app.js client2 BASE AT_ONCE` are the http2
// module's: the client has one connection, with so many streams at once.
"use strict";
const fs = require("fs");
const http = require("http");
const http2 = require("http2");
const https = require("https");
const readline = require("readline");

const later = (ms) => new Promise((done) => setTimeout(done, ms));

async function handle(request, response, write) {
  const [, name, arg] = request.url.split("?")[0].match(/^\/?([^/]*)\/?(.*)$/);
  const text = (body) => {
    response.setHeader("Content-Length", Buffer.byteLength(body));
    write(body);
  };
  const body = [];
  for await (const part of request) body.push(part);
  switch (name) {
    case "hello":
      return text("hello\n");
    case "items":
      return text(`item ${arg}\n`);
    case "status":
      response.statusCode = Number(arg);
      return;
    case "peer":
      return text(String(request.socket.remotePort));
    case "sleep":
      await later(Number(arg));
      return text("slept\n");
    case "bytes":
      return text("x".repeat(Number(arg)));
    case "chunked":
      response.setHeader("Trailer", "X-Sum");
      for (let left = Number(arg); left > 0; left -= 1000) write("x".repeat(Math.min(1000, left)));
      if (request.method !== "HEAD") response.addTrailers({ "X-Sum": arg });
      return;
    case "sse":
      response.setHeader("Content-Type", "text/event-stream");
      for (let i = 0; i < 5; i++) {
        write(`data: ${i}\n\n`);
        await later(20);
      }
      return;
    case "echo":
      return text(Buffer.concat(body));
    default:
      response.statusCode = 404;
  }
}

function serve(where, clear = http.createServer, secure = https.createServer) {
  const [certificate, key] = where.slice(2).map((file) => fs.readFileSync(file));
  const create = certificate ? (on) => secure({ cert: certificate, key }, on) : clear;
  const server = create(async (request, response) => {
    const begin = process.hrtime.bigint();
    let bytes = 0;
    response.on("finish", () => {
      const seconds = Number(process.hrtime.bigint() - begin) / 1e9;
      const line = { method: request.method, target: request.url, status: response.statusCode };
      console.log(JSON.stringify({ ...line, body_bytes: bytes, duration_s: seconds, version: request.httpVersion }));
    });
    await handle(request, response, (part) => {
      if (request.method === "HEAD") return;
      bytes += Buffer.byteLength(part);
      response.write(part);
    });
    response.end();
  });
  server.keepAliveTimeout = 0;
  if (where.length === 1) server.listen(where[0]);
  else server.listen(Number(where[1]), where[0]);
}

const moduleOf = (base) => (base.startsWith("https:") ? https : http);

function withHttp(agent, base, method, target, body) {
  return new Promise((done, fail) => {
    const headers = body ? { "Content-Length": body.length } : {};
    const request = moduleOf(base).request(base + target, { method, agent, headers }, async (response) => {
      let bytes = 0;
      for await (const part of response) bytes += part.length;
      done([response.statusCode, bytes]);
    });
    request.on("error", fail);
    request.end(body);
  });
}

async function client(kind, base) {
  const agent = new (moduleOf(base).Agent)({ keepAlive: true, maxSockets: 1 });
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const [method, target, size] = line.split(" ");
    const body = Number(size) ? Buffer.alloc(Number(size), "x") : undefined;
    if (kind === "http") {
      console.log((await withHttp(agent, base, method, target, body)).join(" "));
    } else {
      const response = await fetch(base + target, { method, body });
      console.log(response.status, (await response.arrayBuffer()).byteLength);
    }
  }
  agent.destroy();
}

function ask(agent, url) {
  return new Promise((done, fail) => {
    const request = moduleOf(url).get(url, { agent }, async (response) => {
      let body = "";
      for await (const part of response) body += part;
      done(body);
    });
    request.on("error", fail);
  });
}

async function many(base, connections, rounds) {
  const agent = new (moduleOf(base).Agent)({ keepAlive: true, maxSockets: connections });
  const one = async (n) => console.log(n, await ask(agent, `${base}&n=${n}`));
  for (let round = 0; round < rounds; round++) {
    await Promise.all([...Array(connections).keys()].map((i) => one(round * connections + i)));
  }
  agent.destroy();
}

function ask2(session, line) {
  const [method, target, size] = line.split(" ");
  return new Promise((done, fail) => {
    const request = session.request({ ":method": method, ":path": target }, { endStream: !Number(size) });
    let status, bytes = 0;
    request.on("response", (headers) => (status = headers[":status"]));
    request.on("data", (part) => (bytes += part.length));
    request.on("error", fail);
    request.on("close", () => done(`${status} ${bytes}`));
    if (Number(size)) request.end(Buffer.alloc(Number(size), "x"));
  });
}

async function client2(base, atOnce) {
  const session = http2.connect(base);
  const lines = fs.readFileSync(0, "utf8").split("\n").filter(Boolean);
  const answers = [];
  let next = 0;
  const one = async () => {
    for (let n; (n = next++) < lines.length; ) answers[n] = await ask2(session, lines[n]);
  };
  await Promise.all([...Array(atOnce)].map(one));
  console.log(answers.join("\n"));
  session.close();
}

const [role, ...rest] = process.argv.slice(2);
if (role === "serve") serve(rest);
else if (role === "serve2") serve(rest, http2.createServer, http2.createSecureServer);
else if (role === "client2") client2(rest[0], Number(rest[1]));
else if (role === "many") many(rest[0], Number(rest[1]), Number(rest[2]));
else client(rest[0], rest[1]);
