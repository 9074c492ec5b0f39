-- Delta CRM: what is cheaper to add once the rows are there.

ALTER TABLE crm.messages
    ADD FOREIGN KEY (conversation_id) REFERENCES crm.conversations ON DELETE CASCADE;
CREATE INDEX messages_by_conversation ON crm.messages (conversation_id, sent_at);
CREATE INDEX contacts_by_name_ar ON crm.contacts (name_ar COLLATE "C");
CREATE INDEX contacts_by_tag ON crm.contacts USING gin (tags);
CREATE INDEX deals_by_stage ON crm.deals (stage_id) INCLUDE (amount);

CREATE VIEW crm.unanswered AS
SELECT DISTINCT ON (conversation_id) conversation_id, contact_id, body, sent_at
FROM crm.messages
JOIN crm.conversations ON conversations.id = conversation_id
WHERE NOT closed AND from_customer
ORDER BY conversation_id, sent_at DESC;
