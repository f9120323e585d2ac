// The testbed's Node application for gRPC, on grpc-js: `app.js serve ADDRESS [CERTIFICATE KEY]`,
// `app.js client ADDRESS AT_ONCE [CERTIFICATE]`. What both do is said in ../../grpc.py.
"use strict";
const fs = require("fs");
const readline = require("readline");
const grpc = require("@grpc/grpc-js");

const same = (bytes) => bytes;
const streams = { Get: [false, false], List: [false, true], Upload: [true, false], Chat: [true, true] };

class Serving {
  constructor(method, call) {
    Object.assign(this, { method, call, wants: { count: 1 }, requests: 0, responses: 0 });
    this.begin = process.hrtime.bigint();
    this.port = Number(call.getPeer().split(":").pop());
  }

  async read(message) {
    if (++this.requests > 1) return;
    const words = message.toString("latin1").trim().split(/\s+/);
    for (let i = 0; i + 1 < words.length; i += 2) this.wants[words[i]] = Number(words[i + 1]);
    if (!this.wants.sleep) return;
    await new Promise((done) => {
      const timer = setTimeout(done, this.wants.sleep);
      this.call.once("cancelled", () => done(clearTimeout(timer)));
    });
  }

  answer() {
    this.responses++;
    return Buffer.alloc(this.wants.size ?? 0, "x");
  }

  // The error to end with, once it is logged.
  end() {
    const code = this.call.cancelled ? grpc.status.CANCELLED : (this.wants.status ?? 0);
    const line = { method: `shop.Orders/${this.method}`, status: grpc.status[code] };
    line.requests = this.requests;
    line.responses = this.responses;
    line.duration_s = Number(process.hrtime.bigint() - this.begin) / 1e9;
    line.tag = this.call.metadata.get("x-tag").join("");
    line.port = this.port;
    console.log(JSON.stringify(line));
    return code ? { code, details: "as asked" } : null;
  }

  // Of one answer.
  finish(callback) {
    const answer = this.wants.status || this.call.cancelled ? null : this.answer();
    callback(this.end(), answer);
  }

  // Of many.
  close() {
    const error = this.end();
    if (error) this.call.emit("error", error);
    else this.call.end();
  }
}

const handlers = {
  async Get(call, callback) {
    const serving = new Serving("Get", call);
    await serving.read(call.request);
    serving.finish(callback);
  },
  async List(call) {
    const serving = new Serving("List", call);
    await serving.read(call.request);
    for (let n = 0; n < serving.wants.count && !call.cancelled; n++) {
      if (!call.write(serving.answer())) await new Promise((done) => call.once("drain", done).once("cancelled", done));
    }
    serving.close();
  },
  async Upload(call, callback) {
    const serving = new Serving("Upload", call);
    try {
      for await (const message of call) await serving.read(message);
    } catch (error) {
      if (!call.cancelled) throw error;
    }
    serving.finish(callback);
  },
  Chat(call) {
    const serving = new Serving("Chat", call);
    let before = Promise.resolve();
    const then = (what) => (before = before.then(what));
    call.on("data", (message) =>
      then(async () => {
        await serving.read(message);
        if (call.cancelled) return;
        serving.responses++;
        call.write(message);
      }),
    );
    let ended = false;
    const end = () => ended || ((ended = true), serving.close());
    call.on("cancelled", () => then(end));
    call.on("end", () => then(end));
  },
};

function serve(address, pem) {
  const [certificate, key] = pem.map((file) => fs.readFileSync(file));
  const secure = certificate
    ? grpc.ServerCredentials.createSsl(null, [{ cert_chain: certificate, private_key: key }])
    : grpc.ServerCredentials.createInsecure();
  const service = {};
  for (const [method, [requestStream, responseStream]] of Object.entries(streams)) {
    const bytes = { requestSerialize: same, requestDeserialize: same, responseSerialize: same, responseDeserialize: same };
    service[method] = { path: `/shop.Orders/${method}`, requestStream, responseStream, ...bytes };
  }
  const server = new grpc.Server();
  server.addService(service, handlers);
  server.bindAsync(address, secure, (error) => {
    if (error) throw error;
  });
}

function ask(client, one) {
  return new Promise((done) => {
    const metadata = new grpc.Metadata();
    metadata.set("x-tag", one.tag);
    if (one.traceparent) metadata.set("traceparent", one.traceparent);
    const options = one.deadline_ms ? { deadline: Date.now() + one.deadline_ms } : {};
    const request = Buffer.from(one.want.padEnd(one.size));
    const path = `/shop.Orders/${one.method}`;
    const [sends, receives] = streams[one.method] ?? [false, false];
    let messages = 0, received = 0, sent = 0;
    const got = (message) => {
      if (!message) return;
      messages++;
      received += message.length;
    };
    const send = () => (sent++ < one.messages ? call.write(request) : call.end());
    const answered = (_, message) => got(message);
    const call = sends
      ? receives
        ? client.makeBidiStreamRequest(path, same, same, metadata, options)
        : client.makeClientStreamRequest(path, same, same, metadata, options, answered)
      : receives
        ? client.makeServerStreamRequest(path, same, same, request, metadata, options)
        : client.makeUnaryRequest(path, same, same, request, metadata, options, answered);
    call.on("status", (status) => setImmediate(() => done(`${grpc.status[status.code]} ${messages} ${received}`)));
    if (receives) {
      call.on("data", (message) => {
        got(message);
        if (sends) send();
      });
      call.on("error", () => {}); // its status says it
    }
    if (sends && receives) send();
    else if (sends) for (let n = 0; n <= one.messages; n++) send();
    if (one.cancel_ms) setTimeout(() => call.cancel(), one.cancel_ms);
  });
}

async function client(address, atOnce, trust) {
  const secure = trust ? grpc.credentials.createSsl(fs.readFileSync(trust)) : grpc.credentials.createInsecure();
  const client = new grpc.Client(address, secure, trust ? { "grpc.ssl_target_name_override": "localhost" } : {});
  const waiting = [];
  let free = atOnce, number = 0, under = 0, ended = false;
  const next = async () => {
    if (!free || !waiting.length) return;
    const [which, line] = waiting.shift();
    free--;
    under++;
    console.log(`${which} ${await ask(client, JSON.parse(line))}`);
    free++;
    if (!--under && ended && !waiting.length) client.close();
    next();
  };
  for await (const line of readline.createInterface({ input: process.stdin })) {
    waiting.push([number++, line]);
    next();
  }
  ended = true;
  if (!under) client.close();
}

const [role, address, ...rest] = process.argv.slice(2);
if (role === "serve") serve(address, rest);
else client(address, Number(rest[0]), rest[1]);
