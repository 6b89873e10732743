"""The images group: from the Kafka topic to developed images, quarantine and daily figures."""
