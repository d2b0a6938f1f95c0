// A shop: shops, accounts, groups, tags, products with variants, and orders of Reaction Commerce.
//
// The documents are made and validated by the schemas that Reaction publishes. What is random is which optional fields a
// document has, how long its lists are, and what it refers to. At the end some documents get what old versions and hand
// edits leave behind.
import { createRequire } from "module";
import { MongoClient } from "mongodb";
import { below, choose, date, draw, hex, meteorId, some, times, title, words } from "./random.mjs";

const require = createRequire(import.meta.url);
const { createFactoryForSchema, Factory } = require("@reactioncommerce/data-factory");

async function schemaOf(plugin, name) {
  const module = await import(`@reactioncommerce/api-plugin-${plugin}/src/simpleSchemas.js`);
  createFactoryForSchema(name, module[name]);
  return module[name];
}

const SCHEMAS = {
  Shop: await schemaOf("shops", "Shop"),
  Account: await schemaOf("accounts", "Account"),
  Group: await schemaOf("accounts", "Group"),
  Tag: await schemaOf("tags", "Tag"),
  Product: await schemaOf("products", "Product"),
  ProductVariant: await schemaOf("products", "ProductVariant"),
  Order: await schemaOf("orders", "Order"),
};

const KEPT = 0.6; // the share of optional fields that a document has
const MONEY = /amount|price|total|subtotal|taxes|discounts?$|shipping$|surcharges|handling|rate$/i;

// Returns the value of one field, more natural than that of the factory.
function natural(key, value) {
  if (value instanceof Date) return date();
  if (/quantity/i.test(key)) return 1 + below(9);
  if (typeof value === "number" && MONEY.test(key)) return draw(0.2) ? below(200) : Math.round(below(20000)) / 100;
  if (typeof value === "number" && /exchangeRate/.test(key)) return Math.round(below(20000)) / 10000;
  if (typeof value !== "string") return value;
  if (key === "_id") return meteorId();
  if (/currencyCode|userCurrency/.test(key)) return choose(["EUR", "USD", "DKK"]);
  if (/country/i.test(key)) return choose(["DK", "DE", "NO"]);
  if (/postal|phone/i.test(key)) return String(10000 + below(80000));
  if (/hash|token/i.test(key)) return hex(40);
  if (/Id$/.test(key)) return meteorId();
  if (/key|namespace/.test(key)) return words(1);
  return value.startsWith("mock") ? words(3) : value;
}

// Returns a document in which optional fields are missing at random, and lists have 0 to `most` elements.
function vary(schema, value, path, most) {
  if (Array.isArray(value)) return times(below(most + 1), () => vary(schema, value[0], `${path}.$`, 2));
  if (value === null || typeof value !== "object" || value instanceof Date) return value;
  const found = {};
  for (const [key, each] of Object.entries(value)) {
    const name = path === "" ? key : `${path}.${key}`;
    const optional = schema.allowsKey(name) && schema.schema(name)?.optional !== false && isOptional(schema, name);
    if (optional && !draw(KEPT)) continue;
    found[key] = natural(key, vary(schema, each, name, 4));
  }
  return found;
}

function isOptional(schema, name) {
  try {
    return schema.get(name, "optional") === true;
  } catch {
    return true;
  }
}

function make(name, fields) {
  const found = vary(SCHEMAS[name], Factory[name].makeOne(), "", 3);
  const document = { _id: meteorId(), ...found, ...fields };
  document._id = fields._id ?? meteorId();
  for (const [key, value] of Object.entries(document)) if (value === undefined) delete document[key];
  return document;
}

const shops = times(2, () => make("Shop", { name: title(2), slug: words(1) }));
const shopOf = () => choose(shops)._id;
const groups = times(4, (index) => make("Group", { name: ["owner", "manager", "customer", "guest"][index], slug: `group-${index}`, shopId: shopOf() }));
const accounts = times(60, (index) =>
  make("Account", {
    userId: meteorId(), shopId: draw(0.9) ? shopOf() : null, name: title(2), username: `user${index}`,
    emails: times(1 + below(2), (number) => ({ address: `user${index}.${number}@example.org`, verified: draw(0.5), provides: "default" })),
    groups: some(groups, 2).map((each) => each._id),
  }),
);
const tags = [];
for (const index of times(25, (each) => each)) {
  const related = some(tags, 3).map((each) => each._id);
  tags.push(make("Tag", { name: title(2), slug: `tag-${index}`, shopId: shopOf(), relatedTagIds: related, groups: [] }));
}
const products = times(40, (index) =>
  make("Product", { ancestors: [], handle: `product-${index}`, shopId: shopOf(), title: title(3), type: "simple", hashtags: some(tags, 4).map((each) => each._id) }),
);
const variants = products.flatMap((product) =>
  times(1 + below(3), (index) =>
    make("ProductVariant", { ancestors: [product._id], shopId: product.shopId, type: "variant", index, sku: `sku-${hex(6)}`, title: title(2) }),
  ),
);

function orderOf(index) {
  const order = make("Order", { accountId: draw(0.8) ? choose(accounts)._id : null, shopId: shopOf(), referenceId: `R${100000 + index}`, currencyCode: "EUR" });
  order.shipping = (order.shipping ?? []).length ? order.shipping : [vary(SCHEMAS.Order, Factory.Order.makeOne().shipping[0], "shipping.$", 3)];
  for (const group of order.shipping) {
    group._id = meteorId();
    group.shopId = order.shopId;
    const items = group.items?.length ? group.items : [vary(SCHEMAS.Order, Factory.Order.makeOne().shipping[0].items[0], "shipping.$.items.$", 2)];
    group.items = items.map((item) => {
      const variant = choose(variants);
      return { ...item, _id: meteorId(), productId: variant.ancestors[0], variantId: variant._id, shopId: order.shopId, quantity: 1 + below(5) };
    });
    if (group.itemIds) group.itemIds = group.items.map((item) => item._id);
  }
  for (const payment of order.payments ?? []) Object.assign(payment, { _id: meteorId(), shopId: order.shopId });
  if (order.customFields) order.customFields = draw(0.5) ? { gift: draw(0.5), note: words(4) } : {};
  order.totalItemQuantity = 1 + below(9);
  order.workflow = { status: choose(["new", "coreOrderWorkflow/processing", "coreOrderWorkflow/completed"]), workflow: some(["coreOrderWorkflow/created", "coreOrderWorkflow/processing"], 2) };
  return order;
}

const orders = times(300, orderOf);
const errors = {};
for (const [name, documents] of Object.entries({ Shop: shops, Account: accounts, Group: groups, Tag: tags, Product: products, ProductVariant: variants, Order: orders })) {
  const context = SCHEMAS[name].newContext();
  errors[name] = documents.filter((document) => !context.validate(SCHEMAS[name].clean(structuredClone(document)))).length;
}
console.log("documents that the schemas refuse, before the damage:", JSON.stringify(errors));

// What old versions and hand edits leave behind.
orders[3].createdAt = orders[3].createdAt.toISOString();
orders[17].totalItemQuantity = "3";
orders[29].shipping = orders[29].shipping[0];
orders[41].payments = null;
orders[53].accountId = meteorId();
delete products[5].handle;
accounts[7].groups = accounts[7].groups[0] ?? "none";
tags[9].metafields = {};

const client = await MongoClient.connect(process.argv[2]);
const database = client.db("reaction");
await database.dropDatabase();
for (const [name, documents] of Object.entries({ Shops: shops, Accounts: accounts, Groups: groups, Tags: tags, Products: [...products, ...variants], Orders: orders })) {
  await database.collection(name).insertMany(documents);
}
await database.collection("Orders").createIndex({ accountId: 1, shopId: 1 });
await database.collection("Orders").createIndex({ referenceId: 1 }, { unique: true });
await database.collection("Products").createIndex({ ancestors: 1 });
await database.collection("Tags").createIndex({ slug: 1 });
await client.close();
