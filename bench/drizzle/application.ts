// Changes rows as the application does, with Drizzle's client. It reads {"updates": [{table, id, column, value}, …]} from
// standard input, then creates rows in every table, deletes some, and prints the IDs of the new ones. Used by
// tests/acceptance/test_drizzle.py.
import { readFileSync } from "node:fs";
import { asc, desc, eq, getTableColumns, getTableName, notInArray, sql } from "drizzle-orm";
import { drizzle } from "drizzle-orm/node-postgres";
import type { PgTable } from "drizzle-orm/pg-core";
import pg from "pg";
import * as schema from "./schema";

const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL });
const db = drizzle(pool, { schema });
const tables = new Map<string, any>();
for (const each of Object.values(schema)) {
  if (each && typeof each === "object" && Symbol.for("drizzle:IsDrizzleTable") in each) {
    tables.set(getTableName(each as PgTable), each);
  }
}

// The application reads every table with its columns first, so that a schema that does not fit is noticed.
for (const table of tables.values()) await db.select().from(table).limit(1);

const { updates } = JSON.parse(readFileSync(0, "utf8"));
for (const { table, id, column, value } of updates) {
  const found = tables.get(table);
  const [name, definition] = Object.entries<any>(getTableColumns(found)).find(([, each]) => each.name === column)!;
  const given = definition.dataType === "date" && value !== null ? new Date(value / 1000) : value;
  const done = await db.update(found).set({ [name]: given }).where(eq(found.id, id));
  if (done.rowCount !== 1) throw new Error(`${table}.${column}: ${done.rowCount} rows`);
}

const { users, conversations, messages, memories, transactions, courses, modules, agents, files } = schema;
const made = await db.transaction(async (tx) => {
  const [{ tenantId }] = await tx.select({ tenantId: users.tenantId }).from(users).limit(1);
  const [user] = await tx.insert(users).values({ tenantId, email: "drizzle@example.com", name: "Drizzle" }).returning();
  const [talk] = await tx.insert(conversations)
    .values({ tenantId, userId: user.id, title: "Drizzle", provider: "openai", model: "gpt-4o" }).returning();
  const message = { tenantId, conversationId: talk.id, provider: "openai", model: "gpt-4o" };
  const [asked] = await tx.insert(messages)
    .values({ ...message, role: "user", content: "Asked with Drizzle" }).returning();
  const [answer] = await tx.insert(messages)
    .values({ ...message, parentId: asked.id, role: "assistant", content: "Answered" }).returning();
  const [memory] = await tx.insert(memories)
    .values({ tenantId, userId: user.id, key: "client", value: "drizzle" }).returning();
  const [payment] = await tx.insert(transactions)
    .values({ tenantId, userId: user.id, amount: 5, status: "completed", type: "one_time" }).returning();
  const [course] = await tx.insert(courses).values({ tenantId, title: "Drizzle", instructor: "Somebody" }).returning();
  const [module] = await tx.insert(modules).values({ tenantId, courseId: course.id, title: "Drizzle" }).returning();
  const kept = [talk.id];
  return { users: user.id, conversations: talk.id, messages: [asked.id, answer.id], memories: memory.id,
    transactions: payment.id, courses: course.id, modules: module.id, kept };
});

// Deletions: a message without answers, a conversation with all that belongs to it, and a row of each other table.
const [leaf] = await db.select({ id: messages.id }).from(messages)
  .where(sql`not exists (select from messages c where c.parent_id = ${messages.id})`).orderBy(asc(messages.id)).limit(1);
await db.delete(messages).where(eq(messages.id, leaf.id));
const [gone] = await db.select({ id: conversations.id }).from(conversations)
  .where(notInArray(conversations.id, made.kept)).orderBy(desc(conversations.id)).limit(1);
await db.update(messages).set({ parentId: null })
  .where(sql`parent_id in (select id from messages where conversation_id = ${gone.id})`);
await db.delete(conversations).where(eq(conversations.id, gone.id));
const own = Object.values(made).flat();
for (const table of [memories, transactions, modules, files, agents]) {
  const [last] = await db.select({ id: table.id }).from(table as any)
    .where(notInArray((table as any).id, own)).orderBy(desc((table as any).id)).limit(1);
  if (last) await db.delete(table as any).where(eq((table as any).id, last.id));
}
console.log(JSON.stringify(made));
await pool.end();
