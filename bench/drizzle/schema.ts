// The application's own schema: the definitions of data-models.md, with the decisions at the top of target-schema.sql
// (the enums, the operator class of the vector index) and the policies that `rls = "all"` adds.
import { sql } from "drizzle-orm";
import {
  type AnyPgColumn, boolean, index, integer, jsonb, pgEnum, pgPolicy, pgTable, text, timestamp, uniqueIndex, uuid, vector,
} from "drizzle-orm/pg-core";

export const roleEnum = pgEnum("role", ["user", "admin", "assistant", "system"]);
export const tierEnum = pgEnum("tier", ["free", "pro", "admin"]);

const tenantIsolation = () =>
  pgPolicy("tenant_isolation", {
    using: sql`tenant_id = nullif(current_setting('app.current_tenant_id', true), '')::uuid`,
  });

export const tenants = pgTable("tenants", {
  id: uuid("id").primaryKey().defaultRandom(),
  name: text("name").notNull(),
  subdomain: text("subdomain").unique().notNull(),
  customDomain: text("custom_domain"),
  branding: jsonb("branding"),
  config: jsonb("config"),
  stripeCustomerId: text("stripe_customer_id"),
  plan: tierEnum("plan").default("free"),
  status: text("status").default("active"),
  createdAt: timestamp("created_at").defaultNow().notNull(),
  updatedAt: timestamp("updated_at").defaultNow().notNull(),
});

const tenantId = () => uuid("tenant_id").references(() => tenants.id, { onDelete: "cascade" }).notNull();

export const users = pgTable("users", {
  id: uuid("id").primaryKey().defaultRandom(),
  tenantId: tenantId(),
  email: text("email").notNull().unique(),
  emailVerified: boolean("email_verified").default(false),
  password: text("password"),
  name: text("name"),
  username: text("username"),
  avatar: text("avatar"),
  tier: tierEnum("tier").default("free").notNull(),
  role: roleEnum("role").default("user").notNull(),
  provider: text("provider"),
  providerId: text("provider_id"),
  preferences: jsonb("preferences"),
  createdAt: timestamp("created_at").defaultNow().notNull(),
  updatedAt: timestamp("updated_at").defaultNow().notNull(),
  lastLoginAt: timestamp("last_login_at"),
}, (t) => [
  index("users_tenant_id_idx").on(t.tenantId),
  uniqueIndex("users_email_idx").on(t.email),
  tenantIsolation(),
]);

const userId = () => uuid("user_id").references(() => users.id, { onDelete: "cascade" }).notNull();

export const conversations = pgTable("conversations", {
  id: uuid("id").primaryKey().defaultRandom(),
  tenantId: tenantId(),
  userId: userId(),
  title: text("title"),
  provider: text("provider").notNull(),
  model: text("model").notNull(),
  agentId: text("agent_id"),
  parameters: jsonb("parameters"),
  archived: boolean("archived").default(false),
  createdAt: timestamp("created_at").defaultNow().notNull(),
  updatedAt: timestamp("updated_at").defaultNow().notNull(),
  lastMessageAt: timestamp("last_message_at"),
}, (t) => [
  index("conversations_user_id_idx").on(t.userId),
  index("conversations_tenant_id_idx").on(t.tenantId),
  index("conversations_agent_id_idx").on(t.agentId),
  tenantIsolation(),
]);

export const messages = pgTable("messages", {
  id: uuid("id").primaryKey().defaultRandom(),
  conversationId: uuid("conversation_id").references(() => conversations.id, { onDelete: "cascade" }).notNull(),
  tenantId: tenantId(),
  content: text("content").notNull(),
  role: roleEnum("role").notNull(),
  parentId: uuid("parent_id").references((): AnyPgColumn => messages.id),
  model: text("model"),
  provider: text("provider"),
  finishReason: text("finish_reason"),
  promptTokens: integer("prompt_tokens"),
  completionTokens: integer("completion_tokens"),
  error: boolean("error").default(false),
  errorMessage: text("error_message"),
  createdAt: timestamp("created_at").defaultNow().notNull(),
  updatedAt: timestamp("updated_at").defaultNow().notNull(),
}, (t) => [
  index("messages_conversation_id_idx").on(t.conversationId),
  index("messages_parent_id_idx").on(t.parentId),
  index("messages_search_idx").using("gin", sql`to_tsvector('english', ${t.content})`),
  tenantIsolation(),
]);

export const agents = pgTable("agents", {
  id: text("id").primaryKey(),
  tenantId: tenantId(),
  createdBy: uuid("created_by").references(() => users.id).notNull(),
  name: text("name").notNull(),
  description: text("description"),
  instructions: text("instructions").notNull(),
  provider: text("provider").notNull(),
  model: text("model").notNull(),
  tools: jsonb("tools").default([]),
  toolResources: jsonb("tool_resources"),
  parameters: jsonb("parameters"),
  icon: text("icon"),
  tier: tierEnum("tier").default("free").notNull(),
  published: boolean("published").default(false),
  version: integer("version").default(1),
  createdAt: timestamp("created_at").defaultNow().notNull(),
  updatedAt: timestamp("updated_at").defaultNow().notNull(),
}, (t) => [
  index("agents_tenant_id_idx").on(t.tenantId),
  index("agents_created_by_idx").on(t.createdBy),
  tenantIsolation(),
]);

export const files = pgTable("files", {
  id: uuid("id").primaryKey().defaultRandom(),
  tenantId: tenantId(),
  userId: userId(),
  filename: text("filename").notNull(),
  originalName: text("original_name").notNull(),
  mimeType: text("mime_type").notNull(),
  size: integer("size").notNull(),
  storageProvider: text("storage_provider").notNull(),
  storageKey: text("storage_key").notNull(),
  url: text("url").notNull(),
  embedded: boolean("embedded").default(false),
  vectorStoreId: text("vector_store_id"),
  metadata: jsonb("metadata"),
  createdAt: timestamp("created_at").defaultNow().notNull(),
  updatedAt: timestamp("updated_at").defaultNow().notNull(),
}, (t) => [
  index("files_user_id_idx").on(t.userId),
  index("files_tenant_id_idx").on(t.tenantId),
  tenantIsolation(),
]);

export const documentChunks = pgTable("document_chunks", {
  id: uuid("id").primaryKey().defaultRandom(),
  fileId: uuid("file_id").references(() => files.id, { onDelete: "cascade" }).notNull(),
  tenantId: tenantId(),
  content: text("content").notNull(),
  embedding: vector("embedding", { dimensions: 1536 }),
  metadata: jsonb("metadata"),
  createdAt: timestamp("created_at").defaultNow().notNull(),
}, (t) => [
  index("document_chunks_embedding_idx").using("ivfflat", t.embedding.op("vector_cosine_ops")),
  index("document_chunks_tenant_id_idx").on(t.tenantId),
  tenantIsolation(),
]);

export const memories = pgTable("memories", {
  id: uuid("id").primaryKey().defaultRandom(),
  tenantId: tenantId(),
  userId: userId(),
  key: text("key").notNull(),
  value: text("value").notNull(),
  category: text("category"),
  source: text("source"),
  sourceId: uuid("source_id"),
  createdAt: timestamp("created_at").defaultNow().notNull(),
  updatedAt: timestamp("updated_at").defaultNow().notNull(),
}, (t) => [
  index("memories_user_id_idx").on(t.userId),
  index("memories_key_idx").on(t.key),
  index("memories_search_idx").using("gin", sql`to_tsvector('english', ${t.value})`),
  tenantIsolation(),
]);

export const courses = pgTable("courses", {
  id: uuid("id").primaryKey().defaultRandom(),
  tenantId: tenantId(),
  title: text("title").notNull(),
  description: text("description"),
  thumbnail: text("thumbnail"),
  instructor: text("instructor").notNull(),
  instructorBio: text("instructor_bio"),
  tier: tierEnum("tier").default("free").notNull(),
  published: boolean("published").default(false),
  order: integer("order").default(0),
  createdAt: timestamp("created_at").defaultNow().notNull(),
  updatedAt: timestamp("updated_at").defaultNow().notNull(),
}, (t) => [index("courses_tenant_id_idx").on(t.tenantId), tenantIsolation()]);

export const modules = pgTable("modules", {
  id: uuid("id").primaryKey().defaultRandom(),
  courseId: uuid("course_id").references(() => courses.id, { onDelete: "cascade" }).notNull(),
  tenantId: tenantId(),
  title: text("title").notNull(),
  description: text("description"),
  videoUrl: text("video_url"),
  videoProvider: text("video_provider"),
  duration: integer("duration"),
  thumbnail: text("thumbnail"),
  transcript: text("transcript"),
  transcriptUrl: text("transcript_url"),
  recordingMetadata: jsonb("recording_metadata"),
  published: boolean("published").default(false),
  order: integer("order").default(0),
  createdAt: timestamp("created_at").defaultNow().notNull(),
  updatedAt: timestamp("updated_at").defaultNow().notNull(),
}, (t) => [index("modules_course_id_idx").on(t.courseId), tenantIsolation()]);

export const transactions = pgTable("transactions", {
  id: uuid("id").primaryKey().defaultRandom(),
  tenantId: tenantId(),
  userId: userId(),
  stripeSessionId: text("stripe_session_id").unique(),
  stripeCustomerId: text("stripe_customer_id"),
  stripeSubscriptionId: text("stripe_subscription_id"),
  amount: integer("amount").notNull(),
  currency: text("currency").default("usd").notNull(),
  status: text("status").notNull(),
  type: text("type").notNull(),
  productId: text("product_id"),
  productName: text("product_name"),
  createdAt: timestamp("created_at").defaultNow().notNull(),
  updatedAt: timestamp("updated_at").defaultNow().notNull(),
}, (t) => [index("transactions_user_id_idx").on(t.userId), tenantIsolation()]);
