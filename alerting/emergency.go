package alerting

const emergencyPrefix = "emergency/"
