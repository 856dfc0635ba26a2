import fs from "node:fs";
import http from "node:http";
import https from "node:https";
const [proxy, target, ca] = [new URL(process.argv[2]), new URL(process.argv[3]), fs.readFileSync(process.argv[4])];
const show = (answer) => {
  let body = "";
  answer.on("data", (chunk) => (body += chunk));
  answer.on("end", () => console.log(answer.statusCode, answer.statusMessage, body));
};
const failed = (error) => console.log(error.message);
const via = { host: proxy.hostname, port: proxy.port };
if (target.protocol === "http:") {
  http.request({ ...via, path: target.href, headers: { Host: target.host } }, show).on("error", failed).end();
} else {
  const port = target.port || 443;
  http
    .request({ ...via, method: "CONNECT", path: `${target.hostname}:${port}` })
    .on("connect", (answer, socket) => {
      if (answer.statusCode !== 200) {
        console.log(answer.statusCode, answer.statusMessage);
        return socket.destroy();
      }
      https.get(target, { createConnection: undefined, socket, agent: false, ca }, show).on("error", failed);
    })
    .on("error", failed)
    .end();
}
