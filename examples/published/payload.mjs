// A content system: users, categories, tags, media, pages with blocks, posts with versions, and comments of Payload CMS.
//
// Payload makes its Mongoose models from this configuration, and its own functions write the documents and their versions.
import { mongooseAdapter } from "@payloadcms/db-mongodb";
import { MongoClient, ObjectId } from "mongodb";
import { buildConfig, getPayload } from "payload";
import { below, choose, date, draw, some, times, title, words } from "./random.mjs";

const text = (name, more = {}) => ({ name, type: "text", ...more });
const relation = (name, relationTo, more = {}) => ({ name, type: "relationship", relationTo, ...more });
const DATABASE = "payload";

const config = buildConfig({
  secret: "an example", telemetry: false, typescript: { autoGenerate: false },
  db: mongooseAdapter({ url: process.argv[2], connectOptions: { dbName: DATABASE }, transactionOptions: false }),
  collections: [
    { slug: "users", auth: true, fields: [text("name"), { name: "roles", type: "select", hasMany: true, options: ["admin", "editor", "author"] }] },
    { slug: "categories", fields: [text("title", { required: true }), relation("parent", "categories")] },
    { slug: "tags", fields: [text("name", { unique: true, index: true })] },
    { slug: "media", fields: [text("alt"), { name: "width", type: "number" }, { name: "focal", type: "group", fields: [{ name: "x", type: "number" }, { name: "y", type: "number" }] }] },
    {
      slug: "posts", versions: { drafts: true },
      fields: [
        text("title", { required: true, localized: false }), text("slug", { unique: true }), relation("author", "users"), relation("categories", "categories", { hasMany: true }),
        relation("tags", "tags", { hasMany: true }), relation("hero", "media"), { name: "publishedAt", type: "date" }, { name: "body", type: "json" },
        { name: "meta", type: "group", fields: [text("description"), relation("image", "media")] },
        { name: "links", type: "array", fields: [text("label"), text("url"), relation("target", ["posts", "categories"])] },
        {
          name: "layout", type: "blocks",
          blocks: [
            { slug: "quote", fields: [text("quote"), text("cite")] },
            { slug: "gallery", fields: [{ name: "images", type: "array", fields: [relation("image", "media"), text("caption")] }] },
          ],
        },
      ],
    },
    { slug: "comments", fields: [relation("post", "posts", { required: true }), relation("parent", "comments"), text("name"), { name: "text", type: "textarea" }, { name: "approved", type: "checkbox", defaultValue: false }] },
  ],
  globals: [{ slug: "header", fields: [{ name: "items", type: "array", fields: [text("label"), relation("post", "posts")] }] }],
});

const old = await MongoClient.connect(process.argv[2]);
await old.db(DATABASE).dropDatabase();
const payload = await getPayload({ config });
const create = (collection, data, more = {}) => payload.create({ collection, data, depth: 0, ...more });
const maybe = (share, value) => (draw(share) ? value() : undefined);
const idOf = (documents) => choose(documents).id;

const users = [];
for (const index of times(8, (each) => each)) users.push(await create("users", { email: `author${index}@example.org`, password: "an example", name: maybe(0.8, () => title(2)), roles: some(["admin", "editor", "author"], 2) }));
const categories = [];
for (const index of times(14, (each) => each)) categories.push(await create("categories", { title: title(2), parent: index > 3 && draw(0.7) ? idOf(categories) : undefined }));
const tags = [];
for (const index of times(20, (each) => each)) tags.push(await create("tags", { name: `${words(1)}-${index}` }));
const media = [];
for (const _ of times(30, (each) => each)) media.push(await create("media", { alt: maybe(0.7, () => title(4)), width: below(4000), focal: maybe(0.3, () => ({ x: below(100), y: below(1000) / 10 })) }));
const posts = [];
for (const index of times(90, (each) => each)) {
  posts.push(
    await create("posts", {
      title: title(5), slug: `post-${index}`, author: idOf(users), categories: some(categories, 3).map((each) => each.id), tags: some(tags, 5).map((each) => each.id), hero: maybe(0.6, () => idOf(media)),
      publishedAt: maybe(0.8, () => date().toISOString()), body: maybe(0.9, () => ({ root: { type: "root", version: 1, children: times(1 + below(4), () => ({ type: "paragraph", text: words(20), format: below(3) })) } })),
      meta: { description: maybe(0.6, () => words(12)), image: maybe(0.4, () => idOf(media)) },
      links: times(below(3), () => ({ label: title(2), url: maybe(0.7, () => `https://example.org/${words(1)}`), target: maybe(0.5, () => (posts.length && draw(0.5) ? { relationTo: "posts", value: idOf(posts) } : { relationTo: "categories", value: idOf(categories) })) })),
      layout: times(below(4), () => (draw(0.5) ? { blockType: "quote", quote: words(12), cite: maybe(0.5, () => title(2)) } : { blockType: "gallery", images: times(below(4), () => ({ image: idOf(media), caption: maybe(0.5, () => words(4)) })) })),
      _status: draw(0.7) ? "published" : "draft",
    }),
  );
}
for (const post of some(posts, 60)) await payload.update({ collection: "posts", id: post.id, data: { title: title(5), _status: "published" }, depth: 0 });
const comments = [];
for (const index of times(150, (each) => each)) {
  comments.push(await create("comments", { post: idOf(posts), parent: index > 10 && draw(0.3) ? idOf(comments) : undefined, name: title(1), text: words(20), approved: draw(0.8) }));
}
await payload.updateGlobal({ slug: "header", data: { items: times(4, () => ({ label: title(1), post: idOf(posts) })) } });

// What other versions and hand edits leave behind.
const database = old.db(DATABASE);
await database.collection("posts").updateOne({ slug: "post-3" }, { $set: { publishedAt: "2020-02-03" } });
await database.collection("posts").updateOne({ slug: "post-9" }, { $set: { author: "the editors" } });
await database.collection("posts").updateOne({ slug: "post-12" }, { $set: { layout: { blockType: "quote" }, meta: null } });
await database.collection("comments").updateOne({ _id: new ObjectId(comments[5].id) }, { $unset: { post: "" } });
await old.close();
process.exit(0);
