"""The pages: read-only, in English and Arabic, for whoever operates the platform."""
