-- The eight tables with attachments, as a Mastodon of 4.3 to 4.6 has them. `imports` went away with 4.4 and
-- media_attachments.thumbnail_storage_schema_version came with 4.6: here both are there, so that nothing goes untried.
-- Of `statuses`, which decides on the privacy of media, there is what that takes. Keys, defaults and indexes are
-- Mastodon's; of foreign keys only those between these tables can be, and none leads to the few statuses.

CREATE TABLE accounts (
    id bigint PRIMARY KEY,
    username varchar NOT NULL DEFAULT '',
    domain varchar,
    private_key text,
    public_key text NOT NULL DEFAULT '',
    created_at timestamp NOT NULL,
    updated_at timestamp NOT NULL,
    note text NOT NULL DEFAULT '',
    display_name varchar NOT NULL DEFAULT '',
    uri varchar NOT NULL DEFAULT '',
    url varchar,
    avatar_file_name varchar,
    avatar_content_type varchar,
    avatar_file_size integer,
    avatar_updated_at timestamp,
    header_file_name varchar,
    header_content_type varchar,
    header_file_size integer,
    header_updated_at timestamp,
    avatar_remote_url varchar,
    locked boolean NOT NULL DEFAULT false,
    header_remote_url varchar NOT NULL DEFAULT '',
    last_webfingered_at timestamp,
    inbox_url varchar NOT NULL DEFAULT '',
    outbox_url varchar NOT NULL DEFAULT '',
    shared_inbox_url varchar NOT NULL DEFAULT '',
    followers_url varchar NOT NULL DEFAULT '',
    following_url varchar NOT NULL DEFAULT '',
    protocol integer NOT NULL DEFAULT 0,
    memorial boolean NOT NULL DEFAULT false,
    moved_to_account_id bigint REFERENCES accounts ON DELETE SET NULL,
    featured_collection_url varchar,
    fields jsonb,
    actor_type varchar,
    discoverable boolean,
    also_known_as varchar[],
    silenced_at timestamp,
    suspended_at timestamp,
    suspension_origin integer,
    sensitized_at timestamp,
    hide_collections boolean,
    avatar_storage_schema_version integer,
    header_storage_schema_version integer,
    trendable boolean,
    reviewed_at timestamp,
    requested_review_at timestamp,
    indexable boolean NOT NULL DEFAULT false,
    attribution_domains varchar[] DEFAULT '{}'
);
CREATE UNIQUE INDEX index_accounts_on_username_and_domain_lower
    ON accounts (lower(username), coalesce(lower(domain), ''));
CREATE INDEX index_accounts_on_domain_and_id ON accounts (domain, id);
CREATE INDEX index_accounts_on_uri ON accounts (uri);
CREATE INDEX index_accounts_on_url ON accounts (url text_pattern_ops) WHERE url IS NOT NULL;
CREATE INDEX index_accounts_on_moved_to_account_id
    ON accounts (moved_to_account_id) WHERE moved_to_account_id IS NOT NULL;

CREATE TABLE statuses (
    id bigint PRIMARY KEY,
    account_id bigint NOT NULL REFERENCES accounts ON DELETE CASCADE,
    text text NOT NULL DEFAULT '',
    created_at timestamp NOT NULL,
    updated_at timestamp NOT NULL,
    visibility integer NOT NULL DEFAULT 0,
    deleted_at timestamp
);
CREATE INDEX index_statuses_on_deleted_at ON statuses (deleted_at) WHERE deleted_at IS NOT NULL;

CREATE TABLE media_attachments (
    id bigint PRIMARY KEY,
    status_id bigint,
    file_file_name varchar,
    file_content_type varchar,
    file_file_size integer,
    file_updated_at timestamp,
    remote_url varchar NOT NULL DEFAULT '',
    created_at timestamp NOT NULL,
    updated_at timestamp NOT NULL,
    shortcode varchar,
    type integer NOT NULL DEFAULT 0,
    file_meta json,
    account_id bigint REFERENCES accounts ON DELETE SET NULL,
    description text,
    scheduled_status_id bigint,
    blurhash varchar,
    processing integer,
    file_storage_schema_version integer,
    thumbnail_file_name varchar,
    thumbnail_content_type varchar,
    thumbnail_file_size integer,
    thumbnail_updated_at timestamp,
    thumbnail_remote_url varchar,
    thumbnail_storage_schema_version integer
);
CREATE INDEX index_media_attachments_on_account_id_and_status_id ON media_attachments (account_id, status_id DESC);
CREATE INDEX index_media_attachments_on_status_id ON media_attachments (status_id);
CREATE INDEX index_media_attachments_on_scheduled_status_id
    ON media_attachments (scheduled_status_id) WHERE scheduled_status_id IS NOT NULL;
CREATE UNIQUE INDEX index_media_attachments_on_shortcode
    ON media_attachments (shortcode text_pattern_ops) WHERE shortcode IS NOT NULL;

CREATE TABLE custom_emojis (
    id bigserial PRIMARY KEY,
    shortcode varchar NOT NULL DEFAULT '',
    domain varchar,
    image_file_name varchar,
    image_content_type varchar,
    image_file_size integer,
    image_updated_at timestamp,
    created_at timestamp NOT NULL,
    updated_at timestamp NOT NULL,
    disabled boolean NOT NULL DEFAULT false,
    uri varchar,
    image_remote_url varchar,
    visible_in_picker boolean NOT NULL DEFAULT true,
    category_id bigint,
    image_storage_schema_version integer
);
CREATE UNIQUE INDEX index_custom_emojis_on_shortcode_and_domain ON custom_emojis (shortcode, domain);

CREATE TABLE preview_cards (
    id bigserial PRIMARY KEY,
    url varchar NOT NULL DEFAULT '',
    title varchar NOT NULL DEFAULT '',
    description varchar NOT NULL DEFAULT '',
    image_file_name varchar,
    image_content_type varchar,
    image_file_size integer,
    image_updated_at timestamp,
    type integer NOT NULL DEFAULT 0,
    html text NOT NULL DEFAULT '',
    author_name varchar NOT NULL DEFAULT '',
    author_url varchar NOT NULL DEFAULT '',
    provider_name varchar NOT NULL DEFAULT '',
    provider_url varchar NOT NULL DEFAULT '',
    width integer NOT NULL DEFAULT 0,
    height integer NOT NULL DEFAULT 0,
    created_at timestamp NOT NULL,
    updated_at timestamp NOT NULL,
    embed_url varchar NOT NULL DEFAULT '',
    image_storage_schema_version integer,
    blurhash varchar,
    language varchar,
    max_score double precision,
    max_score_at timestamp,
    trendable boolean,
    link_type integer,
    published_at timestamp(6),
    image_description varchar NOT NULL DEFAULT '',
    author_account_id bigint REFERENCES accounts ON DELETE SET NULL
);
CREATE UNIQUE INDEX index_preview_cards_on_url ON preview_cards (url);
CREATE INDEX index_preview_cards_on_author_account_id
    ON preview_cards (author_account_id) WHERE author_account_id IS NOT NULL;

CREATE TABLE preview_card_providers (
    id bigserial PRIMARY KEY,
    domain varchar NOT NULL DEFAULT '',
    icon_file_name varchar,
    icon_content_type varchar,
    icon_file_size bigint,
    icon_updated_at timestamp,
    trendable boolean,
    reviewed_at timestamp,
    requested_review_at timestamp,
    created_at timestamp(6) NOT NULL,
    updated_at timestamp(6) NOT NULL
);
CREATE UNIQUE INDEX index_preview_card_providers_on_domain ON preview_card_providers (domain);

CREATE TABLE site_uploads (
    id bigserial PRIMARY KEY,
    var varchar NOT NULL DEFAULT '',
    file_file_name varchar,
    file_content_type varchar,
    file_file_size integer,
    file_updated_at timestamp,
    meta json,
    created_at timestamp NOT NULL,
    updated_at timestamp NOT NULL,
    blurhash varchar
);
CREATE UNIQUE INDEX index_site_uploads_on_var ON site_uploads (var);

CREATE TABLE backups (
    id bigserial PRIMARY KEY,
    user_id bigint,
    dump_file_name varchar,
    dump_content_type varchar,
    dump_updated_at timestamp,
    processed boolean NOT NULL DEFAULT false,
    created_at timestamp NOT NULL,
    updated_at timestamp NOT NULL,
    dump_file_size bigint
);
CREATE INDEX index_backups_on_user_id ON backups (user_id);

CREATE TABLE imports (
    id bigserial PRIMARY KEY,
    type integer NOT NULL,
    approved boolean NOT NULL DEFAULT false,
    created_at timestamp NOT NULL,
    updated_at timestamp NOT NULL,
    data_file_name varchar,
    data_content_type varchar,
    data_file_size integer,
    data_updated_at timestamp,
    account_id bigint NOT NULL REFERENCES accounts ON DELETE CASCADE,
    overwrite boolean NOT NULL DEFAULT false
);
