// Devices: groups, devices and commands of a FIWARE IoT agent, written by the Mongoose models of iotagent-node-lib.
import { createRequire } from "module";
import { MongoClient } from "mongodb";
import { below, choose, date, draw, hex, objectId, some, times, title, words } from "./random.mjs";

const require = createRequire(import.meta.url);
const mongoose = createRequire(require.resolve("iotagent-node-lib"))("mongoose");
const [Group, Device, Command] = ["Group", "Device", "Command"].map((name) => {
  const model = require(`iotagent-node-lib/lib/model/${name}`);
  model.load();
  return model.model;
});

const ATTRIBUTES = ["temperature", "humidity", "pressure", "battery", "illuminance", "position", "status"];
const attribute = (name) => ({
  object_id: name[0], name, type: choose(["Number", "Text", "geo:point"]),
  ...(draw(0.2) && { expression: `|${name}|` }), ...(draw(0.2) && { metadata: { unitCode: { type: "Text", value: choose(["CEL", "P1", "HPA"]) } } }),
});
const fixed = () => ({ name: choose(["serial", "vendor", "floor"]), type: choose(["Text", "Number"]), value: draw(0.5) ? words(2) : below(9) });
const maybe = (share, value) => (draw(share) ? value() : undefined);

await mongoose.connect(process.argv[2], { dbName: "iotagent" });
await mongoose.connection.dropDatabase();
const groups = times(12, (index) => ({
  _id: objectId(), resource: `/iot/${choose(["d", "json"])}`, apikey: hex(24), type: choose(["Thing", "Room", "Meter"]), service: "Harbour", subservice: `/quay${index % 3}`,
  cbHost: "http://orion:1026", timezone: maybe(0.4, () => "Europe/Copenhagen"), timestamp: maybe(0.6, () => draw(0.5)), commands: some([{ name: "ping", type: "command" }, { name: "reset", type: "command" }], 2),
  staticAttributes: times(below(3), fixed), lazy: [], attributes: some(ATTRIBUTES, 4).map(attribute), internalAttributes: [], autoprovision: maybe(0.7, () => draw(0.8)),
  explicitAttrs: maybe(0.5, () => (draw(0.5) ? true : "['temperature']")), ngsiVersion: maybe(0.5, () => "v2"), useCBflowControl: true, storeLastMeasure: draw(0.3), description: maybe(0.3, () => title(4)),
}));
await Group.create(groups);
const devices = times(240, (index) => {
  const group = choose(groups);
  return {
    _id: objectId(), id: `sensor${String(index).padStart(4, "0")}`, type: group.type, name: `urn:ngsi-ld:${group.type}:${index}`, apikey: group.apikey, resource: group.resource,
    service: group.service, subservice: group.subservice, protocol: maybe(0.6, () => "GENERIC_PROTO"), transport: choose(["HTTP", "MQTT", "AMQP"]), lazy: times(below(2), () => attribute("battery")),
    active: some(ATTRIBUTES, 5).map(attribute), commands: [...group.commands], staticAttributes: times(below(3), fixed), subscriptions: times(below(2), () => ({ id: hex(24), triggers: some(ATTRIBUTES, 3) })),
    polling: maybe(0.5, () => draw(0.2)), timezone: group.timezone, timestamp: group.timestamp, registrationId: maybe(0.5, () => hex(24)), internalId: maybe(0.2, () => null), creationDate: date(),
    internalAttributes: maybe(0.3, () => ({ lorawan: { application_server: { host: "ttn", port: 1883 }, dev_eui: hex(16) } })), explicitAttrs: group.explicitAttrs, autoprovision: group.autoprovision,
    storeLastMeasure: draw(0.4), lastMeasure: maybe(0.4, () => ({ timestamp: date().toISOString(), measure: Object.fromEntries(some(ATTRIBUTES, 4).map((name) => [name, draw(0.8) ? below(1000) / 10 : words(1)])) })),
    oldCtxt: maybe(0.1, () => Object.fromEntries(times(3, () => [hex(6), below(50)]))), cmdMode: maybe(0.2, () => "notification"),
  };
});
await Device.create(devices);
await Command.create(
  times(180, () => {
    const device = choose(devices);
    return {
      _id: objectId(), deviceId: device.id, type: "command", name: choose(["ping", "reset", "set"]), service: device.service, subservice: device.subservice, creationDate: date(), dateExpiration: maybe(0.7, date),
      value: choose([1, "on", { level: below(100) }, null, [1, 2, 3]]), status: choose(["PENDING", "DELIVERED", "OK", "ERROR"]), info: maybe(0.3, () => words(5)), execTs: maybe(0.5, date), onOk: maybe(0.2, () => ({ notify: true })), cmdExecution: draw(0.5),
    };
  }),
);
await mongoose.disconnect();

// What other versions of the agent and hand edits leave behind.
const client = await MongoClient.connect(process.argv[2]);
const database = client.db("iotagent");
await database.collection("devices").updateOne({ id: "sensor0007" }, { $set: { creationDate: "2021-03-04 05:06" } });
await database.collection("devices").updateOne({ id: "sensor0019" }, { $set: { active: { t: { name: "temperature", type: "Number" } } } });
await database.collection("devices").updateOne({ id: "sensor0031" }, { $set: { timestamp: "true", explicitAttrs: 1 } });
await database.collection("commands").updateOne({ name: "set" }, { $unset: { deviceId: "" } });
await client.close();
